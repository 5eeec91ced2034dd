"""The application's own blocks and functions are runs, under which everything else nests."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest

import instrument
from instrument.context import bound, current
from instrument.run import Run
from instrument.testing import capture


def by_name(runs: list[Run]) -> dict[str, Run]:
    """Index runs by name."""
    return {run.name: run for run in runs}


def test_block() -> None:
    """A block is a run with kind, input and output, and what is inside stands under it."""
    with capture() as runs:
        with instrument.trace("outer", kind="agent", input={"q": 1}) as outer:
            with instrument.trace("inner", kind="tool"):
                pass
            outer.output = "done"

    found = by_name(runs)
    assert found["inner"].parent_id == found["outer"].id == outer.id
    assert found["inner"].trace_id == found["outer"].trace_id == outer.id
    assert (found["outer"].kind, found["outer"].parent_id) == ("agent", None)
    assert (found["outer"].input, found["outer"].output) == (b'{"q":1}', b'"done"')
    assert found["inner"].started_at >= found["outer"].started_at


def test_block_that_raises() -> None:
    """The exception passes unchanged, and the run ends failed with its type, text and traceback."""
    with capture() as runs, pytest.raises(LookupError, match="gone"):
        with instrument.trace("outer"):
            raise LookupError("gone")

    error = runs[0].error
    assert error is not None
    assert (error.type, error.message) == ("LookupError", "gone")
    assert "test_block_that_raises" in (error.stack or "")
    assert current.get() is None


def test_function() -> None:
    """A function's arguments are the input and its result the output; self is nobody's input."""

    class Service:
        @instrument.trace
        def answer(self, question: str, *, top: int = 3) -> str:
            return question.upper()

    with capture() as runs:
        assert Service().answer("hi") == "HI"

    assert runs[0].name.endswith("Service.answer")
    assert orjson.loads(runs[0].input or b"") == {"question": "hi"}
    assert runs[0].output == b'"HI"'


async def test_async_function() -> None:
    """An async function is still one, and its run lasts until it is awaited to the end."""

    @instrument.trace("slow", kind="tool")
    async def slow() -> int:
        await asyncio.sleep(0.02)
        return 7

    with capture() as runs:
        assert await slow() == 7

    assert inspect.iscoroutinefunction(slow)
    assert (runs[0].duration or 0) >= 0.02


def test_generator() -> None:
    """A generator's steps run inside the run, the caller's code between them does not."""

    @instrument.trace("steps")
    def steps() -> Iterator[Any]:
        yield current.get()
        with instrument.trace("child"):
            yield "x"

    with capture() as runs:
        seen = [(item, current.get()) for item in steps()]

    found = by_name(runs)
    assert inspect.isgeneratorfunction(steps)
    assert seen[0][0].id == found["steps"].id
    assert [outside for _, outside in seen] == [None, None]
    assert found["child"].parent_id == found["steps"].id


def test_generator_protocol() -> None:
    """Send, throw, return values and closing reach the function as if it were not traced."""
    log: list[Any] = []

    @instrument.trace
    def talk() -> Any:
        try:
            log.append((yield 1))
            try:
                yield 2
            except LookupError as error:
                log.append(type(error))
            return "end"
        finally:
            log.append("closed")

    with capture() as runs:
        talking = talk()
        assert (next(talking), talking.send("sent")) == (1, 2)
        with pytest.raises(StopIteration) as stop:
            talking.throw(LookupError())
        left = talk()
        next(left)
        left.close()

    assert stop.value.value == "end"
    assert log == ["sent", LookupError, "closed", "closed"]
    assert [(run.partial, run.error, run.output) for run in runs] == [
        (None, None, b"[1,2]"),
        ("closed", None, b"[1]"),
    ]


async def test_async_generator() -> None:
    """The same holds for asynchronous generators, closed early too."""

    @instrument.trace("steps")
    async def steps() -> AsyncIterator[int]:
        for n in range(3):
            with instrument.trace("child"):
                await asyncio.sleep(0)
            yield n

    with capture() as runs:
        assert [n async for n in steps()] == [0, 1, 2]
        left = steps()
        assert await anext(left) == 0
        await left.aclose()  # type: ignore[attr-defined]

    whole, early = (run for run in runs if run.name == "steps")
    assert inspect.isasyncgenfunction(steps)
    assert (whole.output, whole.partial) == (b"[0,1,2]", None)
    assert (early.output, early.partial) == (b"[0]", "closed")
    assert {run.parent_id for run in runs if run.name == "child"} == {whole.id, early.id}


def test_threads_keep_their_parents() -> None:
    """Two hundred threads and tasks each see their own current run."""
    with capture() as runs:

        def work(n: int) -> None:
            with instrument.trace(f"root {n}"), instrument.trace(f"leaf {n}"):
                pass

        threads = [threading.Thread(target=work, args=(n,)) for n in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = by_name(runs)
    assert len(runs) == 400
    assert all(found[f"leaf {n}"].parent_id == found[f"root {n}"].id for n in range(200))


def test_wrong_call() -> None:
    """A call with wrong arguments raises what it would raise untraced."""

    @instrument.trace
    def f(a: int) -> int:
        return a

    with capture(), pytest.raises(TypeError, match="missing 1 required positional argument"):
        f()  # type: ignore[call-arg]


def test_input_is_as_it_went_in() -> None:
    """What a function does to its arguments is not in its input."""

    @instrument.trace
    def add(messages: list[str]) -> None:
        messages.append("later")

    with capture() as runs:
        add(["first"])

    assert runs[0].input == b'{"messages":["first"]}'


def test_methods_of_classes() -> None:
    """Class methods and static methods are traced in whichever order the decorators stand."""

    class A:
        @instrument.trace
        @classmethod
        def c(cls, x: int) -> tuple[str, int]:
            return cls.__name__, x

        @instrument.trace("static")
        @staticmethod
        def s(x: int) -> int:
            return x

        @classmethod
        @instrument.trace
        def d(cls, x: int) -> int:
            return x

    with capture() as runs:
        assert (A.c(1), A().c(2), A.s(3), A().s(4), A.d(5)) == (("A", 1), ("A", 2), 3, 4, 5)

    assert [run.name.rpartition(".")[2] for run in runs] == ["c", "c", "static", "static", "d"]


async def test_objects_that_are_called() -> None:
    """A partial and an object with `__call__` are traced as what they call."""

    class Asks:
        async def __call__(self, x: int) -> int:
            await asyncio.sleep(0)
            return x

    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    with capture() as runs:
        assert await instrument.trace(functools.partial(add, 1))(2) == 3
        assert await instrument.trace("asks")(Asks())(4) == 4

    assert [(run.name, run.output) for run in runs] == [("partial", b"3"), ("asks", b"4")]


def test_nothing_to_trace() -> None:
    """What cannot be called is told at once."""
    with pytest.raises(TypeError, match="takes a function or a name, not int"):
        instrument.trace(7)  # type: ignore[call-overload]


def test_one_object_in_two_threads() -> None:
    """A block object that two threads use at once ends each one's own run, and leaks nothing."""
    block, who = instrument.trace("shared"), instrument.context(user_id="ada")
    both_in, first_out = threading.Barrier(2), threading.Event()
    after: list[Any] = []

    def work(*, first: bool) -> None:
        with who, block as run:
            run.output = first
            both_in.wait(10)
            if not first:
                first_out.wait(10)
        first_out.set()
        after.append((bound.get().user_id, current.get()))

    with capture() as runs:
        threads = [threading.Thread(target=work, kwargs={"first": n == 0}) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [run.output for run in runs] == [b"true", b"false"]
    assert after == [(None, None)] * 2


def test_wrong_kind() -> None:
    """A kind that there is not is told at once, with those that there are."""
    with pytest.raises(ValueError, match="retriever"):
        instrument.trace("x", kind="span")  # type: ignore[call-overload]


def test_nothing_on() -> None:
    """Without instrument() a traced function is just the function, and a block has no id."""
    with instrument.trace("x") as run:
        pass

    assert run.id is None
    assert instrument.trace(lambda a: a + 1)(1) == 2
