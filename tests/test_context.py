"""What is bound nests, is restored, and stays with its own thread and task."""

from __future__ import annotations

import asyncio
import threading

import pytest

import instrument
from instrument.context import Bound, bound


def test_nesting() -> None:
    """An inner block adds tags and metadata and replaces ids; leaving it restores the outer one."""
    with instrument.context(user_id="u", tags=["a"], metadata={"k": 1, "l": 1}):
        with instrument.context(thread_id="t", tags=["b", "a"], metadata={"k": 2}):
            inner = bound.get()
        outer = bound.get()

    assert inner == Bound("u", None, "t", ("a", "b"), {"k": 2, "l": 1})
    assert outer == Bound("u", None, None, ("a",), {"k": 1, "l": 1})
    assert bound.get() == Bound()


def test_restored_after_an_error() -> None:
    """An exception that leaves the block takes the binding with it."""
    with pytest.raises(LookupError), instrument.context(user_id="u"):
        raise LookupError

    assert bound.get().user_id is None


def test_one_object_twice() -> None:
    """The same context object may be entered again, inside itself too."""
    block = instrument.context(user_id="u")
    with block, block:
        assert bound.get().user_id == "u"

    assert bound.get() == Bound()


def test_values_are_copied() -> None:
    """What the application changes after binding is not changed in the runs."""
    metadata = {"list": [1], "object": object()}
    with instrument.context(metadata=metadata):
        metadata["list"].append(2)  # type: ignore[attr-defined]
        assert bound.get().metadata == {"list": [1], "object": "<builtins.object>"}


def test_odd_tags() -> None:
    """A tag that is no string, or cannot even be one, does not cost the rest."""

    class Mute:
        def __str__(self) -> str:
            raise ValueError

    with instrument.context(tags=["a", 7, Mute()], metadata={"k": 1}):  # type: ignore[list-item]
        now = bound.get()

    assert now.tags[:2] == ("a", "7")
    assert now.metadata == {"k": 1}


def test_threads_and_tasks() -> None:
    """Threads begin unbound; tasks keep their own binding while others run."""
    seen: dict[str, str | None] = {}

    async def task(name: str) -> None:
        with instrument.context(user_id=name):
            await asyncio.sleep(0.01)
            seen[name] = bound.get().user_id

    async def main() -> None:
        await asyncio.gather(*(task(str(n)) for n in range(50)))

    with instrument.context(user_id="outer"):
        thread = threading.Thread(target=lambda: seen.update(thread=bound.get().user_id))
        thread.start()
        thread.join()
        asyncio.run(main())

    assert seen == {str(n): str(n) for n in range(50)} | {"thread": None}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"user_id": 7}, "user_id"), ({"thread_id": 7}, "thread_id"), ({"tags": "a"}, "tags")],
)
def test_wrong_types(arguments: dict[str, object], word: str) -> None:
    """A wrong type is told at the call, with the name of the argument."""
    with pytest.raises(TypeError, match=word):
        instrument.context(**arguments)  # type: ignore[arg-type]


async def test_left_elsewhere() -> None:
    """A block of a generator that another task closes disturbs nobody and raises nothing."""

    async def generate():  # type: ignore[no-untyped-def]
        with instrument.context(user_id="inside"):
            yield 1
            yield 2

    generator = generate()
    await asyncio.create_task(anext(generator))
    await generator.aclose()

    assert bound.get().user_id is None
