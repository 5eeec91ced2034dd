"""
`trace`: make a block or a function of the application's own a run, so that calls nest under it.

A block sets the current run and restores it when it is left. A generator gives its steps the
current run one by one, and never holds it between them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Token
from types import TracebackType
from typing import Any, TypeVar, cast, final, overload

from . import client
from .context import Place, current, restore
from .guard import guard
from .recorder import Facts, OpenRun, describe
from .run import KINDS, Kind, Snapshot
from .snapshot import snapshot

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_ITEMS = 1_000
"""How many items that a traced generator yields are kept as its output."""


@final
class Scope:
    """
    A block of the application's that is a run; what `with trace(...) as run` gives.

    Attributes:
        output: What comes out; set it inside the block.
    """

    __slots__ = ("_given", "_input", "_kind", "_name", "_run", "_tokens", "output")

    def __init__(self, name: str, kind: Kind, given: Any = None) -> None:
        self._name = name
        self._kind: Kind = kind
        self._run: OpenRun | None = None
        self._tokens: list[Token[Place | None]] = []
        self._given = given
        self._input: Snapshot | None = None
        self.output: Any = None

    @property
    def id(self) -> str | None:
        """Id of the run, for `feedback`; None when nothing is traced."""
        return None if self._run is None else self._run.id

    def __enter__(self) -> Scope:
        self.begin()
        self.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()
        self.end(error)

    def begin(self) -> None:
        """Begin the run under the current one."""
        recorder = client.recorder()
        if recorder is None:
            return
        with guard("begin a run"):
            run = recorder.begin(self._kind, self._name)
            if self._given is not None:  # taken now: what the block does to it is not its input
                self._input, self._given = snapshot(self._given), None
            facts = self._facts()
            run.announce(facts, _size(facts))
            self._run = run

    def is_here(self) -> bool:
        """Say whether the current run is this one, so that leaving it here is right."""
        return self._run is None or current.get() is self._run

    def enter(self) -> None:
        """Make the run the current one."""
        if self._run is not None:
            self._tokens.append(current.set(self._run))

    def leave(self) -> bool:
        """Make the run that was current before current again; False where it was never entered."""
        return not self._tokens or restore(current, self._tokens.pop())

    def end(self, error: BaseException | None = None) -> None:
        """End the run: failed with *error*, or well."""
        if self._run is None:
            return
        with guard("end a run"):
            facts = self._facts()
            if self.output is not None:
                facts["output"] = snapshot(self.output)
            if isinstance(error, GeneratorExit):
                facts["partial"] = "closed"
            elif error is not None:
                facts["error"] = describe(error)
            self._run.end(facts, size_bytes=_size(facts))

    def _facts(self) -> Facts:
        return {} if self._input is None else {"input": self._input}


def _size(facts: Facts) -> int:
    return len(facts.get("input") or b"") + len(facts.get("output") or b"")


@final
class Trace:
    """What `trace("name")` gives: good for one `with` block, or to decorate functions with."""

    __slots__ = ("_given", "_kind", "_name", "_scopes")

    def __init__(self, name: str | None, kind: Kind, given: Any) -> None:
        self._name = name
        self._kind: Kind = kind
        self._given = given
        self._scopes: list[Scope] = []

    def __enter__(self) -> Scope:
        scope = Scope(self._name or self._kind, self._kind, self._given)
        self._scopes.append(scope)
        return scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # One object may be entered by several threads and tasks at once, each with its own scope.
        scope = next((own for own in reversed(self._scopes) if own.is_here()), self._scopes[-1])
        self._scopes.remove(scope)
        scope.__exit__(kind, error, traceback)

    def __call__(self, function: Function) -> Function:
        """
        Trace every call of *function*: plain, async, generator or async generator.

        Raises:
            TypeError: It cannot be called.
        """
        inner: Any = function
        if isinstance(function, (classmethod, staticmethod)):
            return cast("Function", type(function)(self(function.__func__)))
        if not callable(function):
            raise TypeError(f"trace() takes a function or a name, not {type(function).__name__}")
        name = getattr(inner, "__qualname__", type(inner).__qualname__)
        return cast("Function", _decorate(inner, self._name or name, self._kind))


@overload
def trace(name: Function, /) -> Function: ...


@overload
def trace(name: str | None = None, *, kind: Kind = "chain", input: Any = None) -> Trace: ...


def trace(
    name: Any = None,
    *,
    kind: Kind = "chain",
    input: Any = None,
) -> Any:
    """
    Make a block or a function a run, under which model calls and other traces nest.

    `with trace("answer", kind="agent") as run:`, `@trace`, or `@trace("answer")`. Inside the block
    `run.output = ...` says what came of it, and `run.id` is what `feedback` takes. A traced
    function's arguments are its input and what it returns or yields is its output.

    Args:
        name: What it is called; the function's own name by default.
        kind: What it does, one of `KINDS`.
        input: What goes into the block.

    Raises:
        ValueError: *kind* is another word.
    """
    if name is not None and not isinstance(name, str):
        return Trace(None, "chain", None)(name)
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}: use one of {', '.join(KINDS)}")
    return Trace(name, kind, input)


def _decorate(function: Callable[..., Any], name: str, kind: Kind) -> Callable[..., Any]:
    # An object with `__call__` is what its method is.
    told = function if inspect.isroutine(function) else type(function).__call__
    told = function.func if isinstance(function, functools.partial) else told
    wrap = next(wrap for fits, wrap in _WRAPS if fits(told))
    signature = _signature(function)

    def scope(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope:
        return Scope(name, kind, _arguments(signature, args, kwargs))

    return functools.wraps(function)(wrap(function, scope))


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    with guard("read a signature"):
        return inspect.signature(function)
    return None


def _arguments(
    signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Name the arguments, without `self` and `cls`, whose state is nobody's input."""
    if client.recorder() is None:
        return None
    if signature is not None:
        try:
            named = dict(signature.bind(*args, **kwargs).arguments)
        except TypeError:
            return [list(args), kwargs]  # a wrong call: the function itself will say so
        return {key: value for key, value in named.items() if key not in {"self", "cls"}}
    return [list(args), kwargs]


ScopeFor = Callable[[tuple[Any, ...], dict[str, Any]], Scope]


def _wrap_plain(function: Callable[..., Any], scope_for: ScopeFor) -> Callable[..., Any]:
    def traced(*args: Any, **kwargs: Any) -> Any:
        with scope_for(args, kwargs) as scope:
            result = scope.output = function(*args, **kwargs)
            return result

    return traced


def _wrap_async(function: Callable[..., Any], scope_for: ScopeFor) -> Callable[..., Any]:
    async def traced(*args: Any, **kwargs: Any) -> Any:
        with scope_for(args, kwargs) as scope:
            result = scope.output = await function(*args, **kwargs)
            return result

    return traced


class _Steps:
    """The steps of a traced generator: each runs inside the scope, none holds it in between."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._items: list[Any] = []
        scope.begin()

    def run(self, step: Callable[[], Any]) -> Any:
        self._scope.enter()
        try:
            item = step()
        finally:
            self._scope.leave()
        self._keep(item)
        return item

    async def arun(self, step: Callable[[], Any]) -> Any:
        self._scope.enter()
        try:
            item = await step()
        finally:
            self._scope.leave()
        self._keep(item)
        return item

    def _keep(self, item: Any) -> None:
        if len(self._items) < MAX_ITEMS:
            self._items.append(item)

    def end(self, error: BaseException | None = None) -> None:
        self._scope.output = self._items
        self._scope.end(error)


def _wrap_generator(function: Callable[..., Any], scope_for: ScopeFor) -> Callable[..., Any]:
    def traced(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        steps = _Steps(scope_for(args, kwargs))
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, generator)
        try:
            while True:
                item = steps.run(step)
                try:
                    step = functools.partial(generator.send, (yield item))
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - it is thrown on into the function
                    step = functools.partial(generator.throw, error)
        except StopIteration as stop:
            steps.end()
            return stop.value
        except BaseException as error:
            steps.end(error)
            raise

    return traced


def _wrap_async_generator(function: Callable[..., Any], scope_for: ScopeFor) -> Callable[..., Any]:
    async def traced(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        steps = _Steps(scope_for(args, kwargs))
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = generator.__anext__
        try:
            while True:
                item = await steps.arun(step)
                try:
                    step = functools.partial(generator.asend, (yield item))
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - it is thrown on into the function
                    step = functools.partial(generator.athrow, error)
        except StopAsyncIteration:
            steps.end()
        except BaseException as error:
            steps.end(error)
            raise

    return traced


_WRAPS: list[tuple[Callable[[Any], bool], Callable[..., Callable[..., Any]]]] = [
    (inspect.isasyncgenfunction, _wrap_async_generator),
    (inspect.iscoroutinefunction, _wrap_async),
    (inspect.isgeneratorfunction, _wrap_generator),
    (callable, _wrap_plain),
]
