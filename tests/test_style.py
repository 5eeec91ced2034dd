"""Lint, format and types are tests, so that one green command means everything."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["mypy", "tests/typing/api.py"],
    ],
    ids=" ".join,
)
def test_tool(command):
    """The tool has nothing to say."""
    pytest.importorskip(command[0], reason=f"{command[0]} is not installed: it is in [dev]")

    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_state_their_claims(path):
    """Every test has a docstring that says what it shows."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tests = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)]
    silent = [
        node.name for node in tests if node.name[:5] == "test_" and not ast.get_docstring(node)
    ]

    assert silent == []
