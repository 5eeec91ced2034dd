"""The callback handler: LangChain's callbacks, one to one, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks.base import BaseCallbackHandler

from ... import recorder as recorders
from ...context import Bound, bind
from ...guard import guard
from ...recorder import MAX_MESSAGE_CHARS, Recorder
from ...run import Error
from .closing import end_when_dropped
from .nodes import Source, registry, scope
from .shots import take, take_answer, take_partial
from .tasks import watch_task
from .tracing import begin, fail, finish

# A guard has no state, and making one anew for each run would cost more than using it.
_BEGIN_CHAIN, _END_CHAIN = guard("begin a chain"), guard("end a chain")
_BEGIN_MODEL, _END_MODEL = guard("begin a model call"), guard("end a model call")
_BEGIN_TOOL, _END_TOOL = guard("begin a tool"), guard("end a tool")


class Handler(BaseCallbackHandler):
    """LangChain's callbacks, for one source of runs; starts nothing by itself."""

    # Called where the run is made, also in asynchronous code: another thread would lose its place.
    run_inline = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, source: Source | None = None) -> None:
        super().__init__()
        self.source = source or Source(newest)

    @property
    def raise_error(self) -> bool:
        """Whether LangChain lets our failures through: only in our tests, with a strict guard."""
        return guard.strict

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **told: Any) -> None:
        """Begin a chain, an agent, a graph or a node of one."""
        try:
            told["inputs"] = inputs
            node = begin(self.source, "chain", run_id, serialized, told)
            if node is not None:
                watch_task(run_id)
                node.announce(None if told.get("defers_inputs") else take(inputs))
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            _BEGIN_CHAIN.stop(error)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **told: Any) -> None:
        """End it."""
        try:
            finish(run_id, take, outputs, given=told.get("inputs"))
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            _END_CHAIN.stop(error)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End it with what it raised."""
        with _END_CHAIN:
            fail(run_id, error, given=told.get("inputs"))

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, **told: Any
    ) -> None:
        """Begin a call of a chat model."""
        try:
            node = begin(self.source, "llm", run_id, serialized, told)
            if node is not None:
                watch_task(run_id)
                node.announce(take(messages[0] if messages else []), told.get("invocation_params"))
                inside = scope.get()
                if inside is None or inside.kind != "llm":
                    end_when_dropped(run_id)
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            _BEGIN_MODEL.stop(error)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **told: Any) -> None:
        """Begin a call of a text model, whose prompt becomes a user's message."""
        with _BEGIN_MODEL:
            node = begin(self.source, "llm", run_id, serialized, told)
            if node is not None:
                watch_task(run_id)
                given = [{"role": "user", "content": prompt} for prompt in prompts]
                node.announce(take(given), told.get("invocation_params"))

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **told: Any) -> None:
        """Note when the first token came."""
        node = registry.get(run_id)
        if node is None or node.account is None or node.account.first_token is not None:
            return
        with guard("note the first token"):
            chunk = told.get("chunk")
            message = getattr(chunk, "message", None)
            if token or getattr(message, "tool_call_chunks", None):
                node.first_token()

    def on_llm_end(self, response: Any, *, run_id: UUID, **told: Any) -> None:
        """End a model call with its answer."""
        try:
            finish(run_id, take_answer, response)
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            _END_MODEL.stop(error)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End a model call with what it raised, and what had come before."""
        with _END_MODEL:
            fail(run_id, error, output=take_partial(told.get("response")))

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **told: Any) -> None:
        """Begin a tool; its arguments are better than their text."""
        try:
            node = begin(self.source, "tool", run_id, serialized, told)
            if node is not None:
                watch_task(run_id)
                inputs = told.get("inputs")
                node.announce(take(input_str if inputs is None else inputs))
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            _BEGIN_TOOL.stop(error)

    def on_tool_end(self, output: Any, *, run_id: UUID, **told: Any) -> None:
        """End a tool; a message may say that it failed."""
        try:
            finish(run_id, take, output, said=tool_error(output))
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            _END_TOOL.stop(error)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End a tool with what it raised."""
        with _END_TOOL:
            fail(run_id, error)

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: UUID, **told: Any) -> None:
        """Begin a retriever."""
        with guard("begin a retriever"):
            node = begin(self.source, "retriever", run_id, serialized, told)
            if node is not None:
                watch_task(run_id)
                node.announce(take(query))

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **told: Any) -> None:
        """End a retriever with the documents that it found."""
        with guard("end a retriever"):
            finish(run_id, take, documents)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End a retriever with what it raised."""
        with guard("end a retriever"):
            fail(run_id, error)

    def on_interrupt(self, *args: Any, **told: Any) -> None:
        """Do nothing: the node that paused says so itself."""

    def on_resume(self, *args: Any, **told: Any) -> None:
        """Do nothing: the node begins again."""

    def __copy__(self) -> Handler:
        return self

    def __deepcopy__(self, memo: Any) -> Handler:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Handler, ()


class CallbackHandler(Handler):
    """
    Trace the LangChain and LangGraph runs that it is attached to.

    ::

        chain.invoke(question, config={"callbacks": [CallbackHandler(user_id="ada")]})

    After `instrument()` every run is traced without it; attached all the same, it says for whom the
    run is made, and nothing is counted twice. One handler may serve any number of runs at once, and
    may be copied and pickled. Without `instrument()` before, making it calls that, with the
    settings of the environment.

    What is bound by `with instrument.context(...)` comes before what is said here, and that comes
    before what LangChain's own `metadata` and `configurable` say.

    Args:
        user_id: Who the runs are made for.
        user_props: More about that user, for destinations that keep it.
        thread_id: The conversation that the runs belong to.
        tags: Words to filter by.
        metadata: Named values to look at.

    Raises:
        TypeError: An id is not a string, or tags is a single string.
    """

    def __init__(
        self,
        *,
        user_id: str | None = None,
        user_props: Mapping[str, Any] | None = None,
        thread_id: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(Source(newest, bind(user_id, user_props, thread_id, tags, metadata)))
        start_recording()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.source.said,)


def _again(said: Bound) -> CallbackHandler:
    """Make a handler that was pickled."""
    handler = CallbackHandler()
    handler.source = Source(newest, said)
    return handler


def tool_error(output: Any) -> Error | None:
    """Read the failure that a tool reports to the model in a message, instead of raising it."""
    if getattr(output, "status", None) != "error":
        return None
    return Error(message=str(output.content)[:MAX_MESSAGE_CHARS], type="ToolError")


def newest() -> Recorder | None:
    """Give the recorder that is on."""
    return recorders.installed[-1] if recorders.installed else None


def start_recording() -> None:
    """Start recording with the settings of the environment, unless something records already."""
    if recorders.installed:
        return
    with guard("start recording"):
        for starter in recorders.starters:
            starter()
