"""Programs that never heard of us, started as they are and as `instrument run` starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import orjson

from instrument.store import Store

ROOT = Path(__file__).resolve().parent.parent
OURS = ("INSTRUMENT_", "LLMONITOR_", "LUNARY_", "TRUBRICS_", "NEBULY_", "HH_", "PYTHON", "COV_")
SECONDS = 60.0
"""How long any program may take."""

ASK = """
import os
from openai import OpenAI
with OpenAI(base_url=os.environ["FAKE"], api_key="test") as client:
    message = {"role": "user", "content": "hi"}
    client.chat.completions.create(model="gpt-4o-mini", messages=[message])
"""
"""A program that makes one call."""

ASKS = """
import os, uuid
from openai import OpenAI
def ask(_=None):
    with OpenAI(base_url=os.environ["FAKE"], api_key="test") as client:
        message = {"role": "user", "content": f"{os.getpid()} {uuid.uuid4()}"}
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=[message])
    return reply.choices[0].message.content
"""
"""A module with a function that makes one call; what it returns has the process's id in it."""


def environment(url: str) -> dict[str, str]:
    """Give an environment in which no destination is set up, and the fake server is named."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**clean, "FAKE": url}


def write(folder: Path, name: str, code: str) -> Path:
    """Write a file of the program."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))
    return path


def python(
    folder: Path, env: dict[str, str], *words: object, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program as it is, without us."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def launcher(*words: object) -> list[str]:
    """Write the command that runs a program traced, from this checkout."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from instrument.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, "run", *map(str, words)]


def traced(
    folder: Path, env: dict[str, str], *words: object, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program as `python -m instrument run` does."""
    return python(folder, env, *launcher(*words)[1:], stdin=stdin)


def recorded(folder: Path) -> list[Any]:
    """Read the ended traces out of the store of *folder*."""
    path = folder / ".instrument" / "runs.db"
    return Store(path).newest(1000) if path.exists() else []


def answers(folder: Path) -> list[str]:
    """Read the answers of all ended runs out of the store of *folder*, in order."""
    outputs = [tree.root.output for tree in recorded(folder)]
    return sorted(orjson.loads(each)["content"] for each in outputs if each is not None)
