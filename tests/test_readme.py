"""The README says what is so: its code runs, its help texts are the real ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from instrument.testing import FakeOpenAI

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
HELP = re.findall(r"^```\n\$ instrument (.*?)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
IMPORTED = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)
COMMAND = re.compile(r"^    (\w+) ", re.MULTILINE)
SETTINGS = re.compile(r"\b(?:INSTRUMENT|LLMONITOR|LUNARY|TRUBRICS|NEBULY|HH)_[A-Z_]+[A-Z]\b")


def environment(**more):
    clean = {key: value for key, value in os.environ.items() if not SETTINGS.match(key)}
    return {**clean, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **more}


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(code, tmp_path):
    """Each block of Python runs by itself, from an empty folder, without a word on stderr."""
    for package in IMPORTED.findall(code):
        pytest.importorskip(package)
    with FakeOpenAI() as server:
        env = environment(OPENAI_BASE_URL=server.url, OPENAI_API_KEY="test", INSTRUMENT_QUIET="1")
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=False
        )

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("words", "shown"), HELP, ids=[words for words, _ in HELP])
def test_help_is_the_real_one(words, shown):
    """What the README shows of the command line's help is what it prints."""
    command = [sys.executable, "-m", "instrument", *words.split()]
    env = environment(COLUMNS="80")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)

    assert done.stdout == shown


def test_every_command_is_shown():
    """The help of each command is in the README."""
    commands = set(COMMAND.findall(dict(HELP)["--help"]))

    assert {words for words, _ in HELP} == {"--help"} | {f"{name} --help" for name in commands}


def test_every_variable_is_explained():
    """Each environment variable that the code reads stands in the README."""
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "instrument").rglob("*.py")]
    named = {name for text in code for name in SETTINGS.findall(text)}

    assert sorted(named - set(SETTINGS.findall(README))) == []


@pytest.mark.parametrize("words", ["pip install '.[dev]'", "/pytest -n auto"])
def test_ci_runs_the_readme_s_test_command(words):
    """What the README says about running the tests is what `.ci/run` does."""
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace('"', "").replace("--quiet ", "")

    assert words in README
    assert words in ci
