"""
End the runs that LangChain leaves open when an exception passes through.

A cancelled `ainvoke` of a model, tool or retriever, or one failed prompt of several, gives no
callback. So the public methods that begin such runs are wrapped; one that raises ends what is still
open of the runs that it began.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial, wraps
from typing import Any, Final, NamedTuple
from uuid import UUID

from ...context import restore
from ...guard import guard
from ...patches import Patches, Wrapped
from ...run import Kind
from .labels import stack_above
from .linking import run_of
from .nodes import Scope, registry, scope
from .tracing import break_off

LAZY_START: Final = "ensure_started"
"""The function of LangChain's that begins the run of a stream when it is first read."""

NEAR_FRAMES: Final = 4
"""How many frames are passed over: ours, and LangChain's between that function and its callback."""

LAZY_FRAMES: Final = 3
"""In how many frames above those that function is looked for."""


STEP_FRAMES: Final = 4
"""How many frames above a stream's first step are searched for its run."""


class Method(NamedTuple):
    """A public method of LangChain's that begins runs of one kind."""

    owner: str
    name: str
    kind: Kind
    asynchronous: bool
    in_steps: bool = False


METHODS: Final[dict[str, tuple[Method, ...]]] = {
    "langchain_core.language_models.chat_models": (
        Method("BaseChatModel", "generate", "llm", asynchronous=False),
        Method("BaseChatModel", "agenerate", "llm", asynchronous=True),
        Method("BaseChatModel", "_astream", "llm", asynchronous=True, in_steps=True),
    ),
    "langchain_core.language_models.llms": (
        Method("BaseLLM", "generate", "llm", asynchronous=False),
        Method("BaseLLM", "agenerate", "llm", asynchronous=True),
    ),
    "langchain_core.retrievers": (
        Method("BaseRetriever", "invoke", "retriever", asynchronous=False),
        Method("BaseRetriever", "ainvoke", "retriever", asynchronous=True),
    ),
    # A batch begins its runs in tasks of their own, which end well before it is cancelled.
    "langchain_core.runnables.base": (
        Method("RunnableSequence", "abatch", "chain", asynchronous=True),
    ),
    "langchain_core.runnables.fallbacks": (
        Method("RunnableWithFallbacks", "abatch", "chain", asynchronous=True),
    ),
    "langchain_core.runnables.retry": (
        Method("RunnableRetry", "abatch", "chain", asynchronous=True),
    ),
    "langchain_core.tools.base": (
        Method("BaseTool", "run", "tool", asynchronous=False),
        Method("BaseTool", "arun", "tool", asynchronous=True),
    ),
}


def end_open(inside: Scope, error: BaseException) -> None:
    """End what is still open of the runs that a call has begun."""
    if inside.kind == "chain" and isinstance(error, Exception):
        return  # the other chains of a batch run on
    with guard("end a run that LangChain left open"):
        for run_id in inside.run_ids:
            break_off(run_id, error)


def closing(kind: Kind, wrapped: Wrapped) -> Wrapped:
    """Make a method that ends what the wrapped one leaves open."""

    @wraps(wrapped)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        inside = Scope(kind)
        token = scope.set(inside)
        try:
            return wrapped(self, *args, **kwargs)
        except BaseException as error:
            end_open(inside, error)
            raise
        finally:
            restore(scope, token)

    return call


def aclosing(kind: Kind, wrapped: Wrapped) -> Wrapped:
    """Do what `closing` does, for an asynchronous method; the one of chains is `abatch`."""

    @wraps(wrapped)
    async def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        inside = Scope(kind)
        if kind == "chain":
            with guard("read a batch"):
                inside.batch = batch_of(*args, **kwargs)
        token = scope.set(inside)
        try:
            return await wrapped(self, *args, **kwargs)
        except BaseException as error:
            end_open(inside, error)
            raise
        finally:
            inside.batch = None  # a task that lives on has the scope, and need not have this
            restore(scope, token)

    return call


def batch_of(inputs: Any, config: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
    """Give what a batch is made of."""
    return inputs, config


def stepping(kind: Kind, wrapped: Wrapped) -> Wrapped:
    """Make a stream that says, around each of its steps, which run it is read for."""

    @wraps(wrapped)
    async def call(self: Any, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        inside = Scope(kind)
        with guard("find the run of a stream"):
            inside.run_ids.extend(runs_above())
        steps = wrapped(self, *args, **kwargs)
        try:
            while True:
                token = scope.set(inside)
                try:
                    step = await steps.__anext__()
                except StopAsyncIteration:
                    return
                finally:
                    restore(scope, token)
                yield step
        finally:
            close = getattr(steps, "aclose", None)  # what others make of it may have none
            if close is not None:
                await close()

    return call


def runs_above() -> list[UUID]:
    """Find the run of the stream whose first step this is, on the stack."""
    frame = sys._getframe(2)  # noqa: SLF001 - the documented way to walk the stack
    for _ in range(STEP_FRAMES):
        run_id = run_of(frame)
        if run_id is not None:
            return [run_id]
        if frame.f_back is None:
            break
        frame = frame.f_back
    return []


def end_when_dropped(run_id: UUID) -> None:
    """
    End a run whose stream (events v3, synchronous) is dropped before its end.

    Such a stream begins its run when it is first read, from a function of LangChain's that knows
    it; when nobody holds it any more, there is no callback.
    """
    frame = stack_above(NEAR_FRAMES)
    for _ in range(LAZY_FRAMES):
        if frame is None:
            return
        if frame.f_code.co_name == LAZY_START:
            stream = frame.f_locals.get("stream")
            if stream is not None:
                weakref.finalize(stream, _dropped, run_id).atexit = False
            return
        frame = frame.f_back


def _dropped(run_id: UUID) -> None:
    with guard("end a stream that was dropped"):
        node = registry.close(run_id)
        if node is not None and node.account is not None:
            node.account.partial = "abandoned"
            node.end()


def _maker(method: Method) -> Callable[[Kind, Wrapped], Wrapped]:
    if method.in_steps:
        return stepping
    return aclosing if method.asynchronous else closing


def wrap(patches: Patches, module: Any) -> None:
    """Wrap the methods that this module of LangChain's has."""
    for method in METHODS[module.__name__]:
        owner = getattr(module, method.owner, None)
        if owner is None or method.name not in vars(owner):
            continue  # a run that is left open is then ended by its age
        with guard(f"wrap {method.owner}.{method.name}"):
            patches.put(owner, method.name, partial(_maker(method), method.kind))


def install() -> Callable[[], None]:
    """Wrap LangChain's methods when they are imported; the result takes that back."""
    patches = Patches()
    for module in METHODS:
        patches.when_imported(module, partial(wrap, patches))
    return patches.undo
