"""An exception's text is read without asking what it carries for one."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from instrument.errors import MAX_PARTS, text_of
from instrument.recorder import describe


class Query:
    """Has a text that takes a database to make."""

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    __str__ = __repr__


class Own(Exception):
    def __str__(self) -> str:
        return "in its own words"


def raised(error: BaseException) -> BaseException:
    """Give *error* a traceback."""
    with pytest.raises(type(error)):
        raise error
    return error


PLAIN: tuple[Callable[[], BaseException], ...] = (
    lambda: ValueError(),
    lambda: ValueError("no"),
    lambda: ValueError("no", 7, None, 1.5, b"x"),
    lambda: ValueError({"code": [400, "bad"]}),
    lambda: KeyError("name"),
    lambda: FileNotFoundError(2, "No such file", "x.txt"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    lambda: RuntimeError(ValueError("inner")),
    lambda: Own(Query()),
)


@pytest.mark.parametrize("make", PLAIN)
def test_plain(make: Callable[[], BaseException]) -> None:
    """What carries plain values, or has words of its own, says what it says to everybody."""
    error = raised(make())
    said = describe(error)

    assert said.message == (str(error) or type(error).__name__)
    assert said.stack is not None
    assert said.stack.startswith("Traceback")
    assert "in raised" in said.stack
    assert str(error) in said.stack


ODD: tuple[tuple[Any, str], ...] = (
    (ValueError(Query()), "<tests.test_errors.Query>"),
    (ValueError("no", Query()), "no, <tests.test_errors.Query>"),
    (KeyError(Query()), "<tests.test_errors.Query>"),
    (ValueError([1, {"q": Query()}]), '[1,{"q":"<tests.test_errors.Query>"}]'),
    (RuntimeError(ValueError("no", Query())), "no, <tests.test_errors.Query>"),
    (ValueError(uuid.UUID(int=1)), "00000000-0000-0000-0000-000000000001"),
)


@pytest.mark.parametrize(("error", "text"), ODD, ids=[text for _, text in ODD])
def test_odd(error: BaseException, text: str) -> None:
    """No text is asked of anything else: its type stands there, in message and traceback."""
    said = describe(raised(error))

    assert said.message == text.replace("tests.test_errors", Query.__module__)
    assert said.stack is not None
    assert "in raised" in said.stack
    assert said.stack.endswith(f"{type(error).__name__}: {said.message}\n")


def test_large() -> None:
    """A text of very many values is not made."""
    assert len(text_of(ValueError(dict.fromkeys(range(MAX_PARTS + 1), Query())))) < 100_000


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes and groups are new in Python 3.11")
def test_notes() -> None:
    """A note is part of a traceback, unless it is none."""
    plain, odd = ValueError("no"), ValueError("no")
    vars(plain)["__notes__"] = ["at night"]
    vars(odd)["__notes__"] = [Query()]

    assert "at night" in str(describe(raised(plain)).stack)
    assert describe(raised(odd)).message == "no"
