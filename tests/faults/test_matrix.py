"""Every fault of the matrix has its tests, and they exist."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.faults.matrix import ROWS

TESTS = Path(__file__).resolve().parent.parent


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def test_every_fault_has_a_row() -> None:
    """There are fifty-six, and each has a test, or a reason why there is none."""
    assert list(ROWS) == list(range(1, 57))
    assert [number for number, row in ROWS.items() if not (row.tests or row.not_here)] == []


@pytest.mark.parametrize("number", ROWS)
def test_tests_exist(number: int) -> None:
    """What the table names is there."""
    missing = [
        test
        for test in ROWS[number].tests
        if test.partition("::")[2] not in names_in(test.partition("::")[0])
    ]

    assert missing == []
