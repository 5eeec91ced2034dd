"""Every example runs as its docstring says, from an empty folder, without a key."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
KEYS = re.compile(r"(OPENAI|INSTRUMENT|LLMONITOR|LUNARY|TRUBRICS|NEBULY|HH)_")


def run(example, folder):
    clean = {name: value for name, value in os.environ.items() if not KEYS.match(name)}
    env = {**clean, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, str(example)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def needs(example):
    """List the packages that an example imports, ours aside."""
    for node in ast.walk(ast.parse(example.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example, tmp_path):
    """It ends well, and prints something."""
    for package in needs(example):
        pytest.importorskip(package)

    done = run(example, tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_quickstart_shows_its_traces(tmp_path):
    """The quickstart says where the runs are, and ends with three traces from the store."""
    pytest.importorskip("openai")

    done = run(ROOT / "examples" / "quickstart.py", tmp_path)

    assert done.stderr.count("python -m instrument show") == 1
    assert "Oslo is the capital of Norway." in done.stdout
    assert done.stdout.count("gpt-4o-mini") >= 4
    for name in ("forecast", "weather"):
        assert name in done.stdout
    assert (tmp_path / ".instrument" / ".gitignore").read_text().strip() == "*"
