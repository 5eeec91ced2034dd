# ruff: noqa: RUF012 - pydantic copies the defaults of its models
"""What the LangChain tests share: models that need no network, and the runs as trees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever

from instrument import recorder as recorders
from instrument.integrations import langchain, openai
from instrument.integrations.langchain.account import Account, Begun
from instrument.integrations.langchain.nodes import registry
from instrument.recorder import Record, Recorder

USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}


class Traced:
    """The records of a block; decoded when they are looked at, as the worker does it."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.recorder = Recorder(self.records.append)
        self._runs: dict[int, Any] = {}

    @property
    def ended(self):
        """The runs that have ended, in order."""
        return [self._decode(record) for record in self._records() if record.duration is not None]

    @property
    def begun_ids(self):
        """The ids of the runs that were published as open, in order."""
        return [record.run.id for record in self._records() if record.duration is None]

    def _decode(self, record):
        if id(record) not in self._runs:
            self._runs[id(record)] = record.decode()
        return self._runs[id(record)]

    def _records(self):
        return [record for record in self.records if isinstance(record, (Account, Begun, Record))]

    def of(self, kind):
        """The ended runs of a kind."""
        return [run for run in self.ended if run.kind == kind]

    def one(self, name=None, kind=None):
        """The one ended run of this name, or of this kind."""
        found = [run for run in self.ended if name in (None, run.name) and kind in (None, run.kind)]
        assert len(found) == 1, self.paths()
        return found[0]

    def path(self, run):
        """The names from the root to a run."""
        by_id = {one.id: one for one in self.ended}
        names = []
        while run is not None:
            names.append(run.name)
            run = by_id.get(run.parent_id)
        return " > ".join(reversed(names))

    def paths(self, kind=None):
        """The paths of all runs of a kind, sorted."""
        return sorted(self.path(run) for run in self.ended if kind in (None, run.kind))

    def check(self):
        """Assert what holds of any traffic: each run once, all ended, all parents there."""
        taken = [record for record in self.records if isinstance(record, (Account, Begun, Record))]
        begun = [record.run.id for record in taken if record.duration is None]
        ended = [run.id for run in self.ended]
        assert len(set(begun)) == len(begun)
        assert sorted(begun) == sorted(ended)
        known = set(begun)
        roots = {run.id for run in self.ended if run.parent_id is None}
        for run in self.ended:
            assert run.parent_id is None or run.parent_id in known
            assert run.trace_id in roots
        assert not len(registry)


@contextmanager
def traced(*, with_openai: bool = True) -> Iterator[Traced]:
    """Trace a block as `instrument()` would, without a transport."""
    traced = Traced()
    recorders.installed.append(traced.recorder)
    undo = [langchain.install(traced.recorder)]
    if with_openai:
        undo.append(openai.install(traced.recorder))
    try:
        yield traced
    finally:
        for take_back in reversed(undo):
            take_back()
        recorders.installed.remove(traced.recorder)
        registry.clear()


class FakeChat(BaseChatModel):
    """A chat model that answers with `words`, one by one, `pace` seconds apart."""

    words: list[str] = ["one ", "two ", "three"]
    pace: float = 0.0
    error: Any = None
    usage: Any = USAGE
    extra: dict[str, Any] = {}

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _message(self):
        return AIMessage("".join(self.words), usage_metadata=self.usage, **self.extra)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        time.sleep(self.pace)
        if self.error:
            raise self.error
        return ChatResult(generations=[ChatGeneration(message=self._message())])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        await asyncio.sleep(self.pace)
        if self.error:
            raise self.error
        return ChatResult(generations=[ChatGeneration(message=self._message())])


class FakeStream(FakeChat):
    """The same, in pieces."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for chunk in self._chunks():
            time.sleep(self.pace)
            yield chunk
        if self.error:
            raise self.error

    async def _astream(
        self, messages, stop=None, run_manager=None, **kwargs
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            await asyncio.sleep(self.pace)
            yield chunk
        if self.error:
            raise self.error

    def _chunks(self):
        for word in self.words:
            yield ChatGenerationChunk(message=AIMessageChunk(word))
        if self.usage:
            last = AIMessageChunk("", usage_metadata=self.usage)
            yield ChatGenerationChunk(message=last)


class FakeRetriever(BaseRetriever):
    """A retriever that finds `documents`, or raises."""

    documents: list[Any] = []
    pace: float = 0.0
    error: Any = None

    def _get_relevant_documents(self, query, *, run_manager):
        if self.error:
            raise self.error
        return self.documents

    async def _aget_relevant_documents(self, query, *, run_manager):
        await asyncio.sleep(self.pace)
        return self._get_relevant_documents(query, run_manager=run_manager)
