"""
Recorded runs as a tape: each request gets the answer that such a request once got.

A request is answered by the run that has its model and messages, else by the next one that has not
been played yet, because prompts often hold a date or an id. When there is none, the answer is an
error that says so.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

from ..exporters._text import called, flat, load, messages, text
from ..exporters.jsonl import read
from ..run import JSON, Run, Usage
from ..snapshot import plain
from ..store import Filters, Store

if TYPE_CHECKING:
    from .completions import Script
    from .view import RunView

Source: TypeAlias = "str | Path | Iterable[Run | RunView]"
"""A store, a file of JSON lines, or runs."""

_SQLITE = b"SQLite format 3\x00"
_WHOLE = frozenset({"role", "content", "tool_calls", "function_call"})
_Key: TypeAlias = "tuple[str, tuple[tuple[str, str], ...]]"


@final
class Tape:
    """
    Answers in the order in which they were recorded.

    Args:
        source: Where the runs are.
        strict: Answer only requests whose model and messages were recorded.

    Raises:
        ValueError: There is no model call in it.
        OSError: The file cannot be read.
        StoreError: The store cannot be read.
    """

    def __init__(self, source: Source, *, strict: bool = False) -> None:
        self.runs = [run for run in found_in(source) if is_answer(run)]
        if not self.runs:
            raise ValueError("there is nothing to replay: no model call that has ended")
        self._strict = strict
        self._lock = threading.Lock()
        self._unplayed: dict[str, Run] = {run.id: run for run in self.runs}
        self._by_request: dict[_Key, deque[Run]] = {}
        for run in self.runs:
            self._by_request.setdefault(key_of(run.name, load(run.input)), deque()).append(run)

    def script(self, asked: Mapping[str, Any]) -> Script:
        """Find the answer to a request, as the body of one, and say what to reply."""
        with self._lock:
            run = self._matching(asked) or (None if self._strict else self._next())
            if run is None:
                return self._nothing(asked)
            self._unplayed.pop(run.id, None)
        return script_of(run)

    def _matching(self, asked: Mapping[str, Any]) -> Run | None:
        """Find the next run of the same request; the last one is played again and again."""
        found = self._by_request.get(key_of(str(asked.get("model")), plain(asked.get("messages"))))
        if found is None:
            return None
        return found.popleft() if len(found) > 1 else found[0]

    def _next(self) -> Run | None:
        return next(iter(self._unplayed.values()), None)

    def _nothing(self, asked: Mapping[str, Any]) -> Script:
        models = Counter(run.name for run in self.runs)
        recorded = ", ".join(f"{count} of {name}" for name, count in models.items())
        left = len(self._unplayed)
        why = "with these messages" if left else "and all recorded ones were played"
        words = text_of_last(plain(asked.get("messages")))
        message = (
            f"replay: no recorded answer for {asked.get('model')} to {words!r} {why} "
            f"(recorded: {recorded}; not played yet: {left})"
        )
        return {"status": 400, "error": {"message": message, "code": "nothing_recorded"}}


def found_in(source: Source) -> Iterable[Run]:
    """Go through the runs of a source, oldest first."""
    if not isinstance(source, (str, Path)):
        return [each if isinstance(each, Run) else each.run for each in source]
    with Path(source).open("rb") as file:
        is_store = file.read(len(_SQLITE)) == _SQLITE
    if is_store:
        return Store(source).runs(Filters(kind="llm"))
    return (item for item in read(source) if isinstance(item, Run))


def is_answer(run: Run) -> bool:
    """Say whether there is something to answer with: a model call that has ended."""
    return run.kind == "llm" and (run.output is not None or run.error is not None)


def key_of(model: str, sent: JSON) -> _Key:
    """Say what a request is known by: the model, and roles and words of its messages."""
    return model, tuple((each["role"], each["content"]) for each in map(flat, messages(sent)))


def text_of_last(sent: JSON) -> str:
    """Return the first words of the last message, for an error."""
    found = messages(sent)
    return text(found[-1].get("content"))[:80] if found else ""


def script_of(run: Run) -> Script:
    """Write a recorded run as what the fake server is to reply."""
    if run.error is not None and run.error.status is None:
        return {"drop": "at once"}  # there was no reply
    if run.error is not None and (run.error.status or 0) >= 400:
        # The recorded error is what was left after all attempts.
        headers = {"x-should-retry": "false"}
        error = {"message": run.error.message}
        return {"status": run.error.status or 500, "error": error, "headers": headers}
    choices = messages(load(run.output)) or [{"role": "assistant", "content": load(run.output)}]
    script: Script = {"usage": usage_of(run.usage), "message": more(choices[0])}
    texts = [each.get("content") for each in choices]
    if any(isinstance(each, str) for each in texts):
        script["text"] = [text(each) for each in texts]
    if tools := called_by(choices[0]):
        script["tool_calls"] = tools
    return {**script, **said_by_provider(run)}


def said_by_provider(run: Run) -> Script:
    """Write the model that answered and why it ended, and end where the recorded stream did."""
    script: Script = {}
    if run.answer is not None and run.answer.model:
        script["model"] = run.answer.model
    reason = run.answer.finish_reasons[0] if run.answer and run.answer.finish_reasons else None
    if reason:
        script["finish_reason"] = reason
    if run.partial == "truncated":
        script["drop"] = True
    return script


def called_by(message: Mapping[str, JSON]) -> list[Any]:
    """Write the tools that a message calls as a script does."""
    calls = called(message)
    found = []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(call, dict) and isinstance(function, dict):
            found.append(
                {
                    "id": str(call.get("id")),
                    "name": str(function.get("name")),
                    "arguments": function.get("arguments") or "",
                }
            )
    return found


def more(message: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """Return the fields of an answer's message that a script has no word for."""
    return {name: value for name, value in message.items() if name not in _WHOLE}


def usage_of(usage: Usage | None) -> Mapping[str, Any] | None:
    """Write token counts as OpenAI does; None where there were none."""
    if usage is None or usage.prompt is None or usage.completion is None:
        return None
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total or usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": usage.audio_in},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_out,
        },
    }
