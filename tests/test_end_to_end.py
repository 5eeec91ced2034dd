"""One line in a program of its own, the real SDK, real HTTP: what arrives at the other end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the openai package is not installed")

from instrument.testing import FakeOpenAI
from tests.fakes.lunary import PRIVATE_KEY, PROJECT, Lunary, serve

ROOT = Path(__file__).resolve().parent.parent

PROGRAM = """
import instrument, sys
from openai import OpenAI, OpenAIError

{before}
client = OpenAI(base_url=sys.argv[1], api_key="sk-test", max_retries=0)
{after}
ask = dict(model="gpt-4o", messages=[{{"role": "user", "content": "hi"}}])
with instrument.context(user_id="u-1", user_props={{"plan": "pro"}}, tags=["t"], metadata={{"k": 1}}):
    with instrument.trace("turn", kind="agent", input="hi") as turn:
        client.chat.completions.create(**ask)
        for chunk in client.chat.completions.create(
            **ask, stream=True, stream_options={{"include_usage": True}}
        ):
            pass
        try:
            client.chat.completions.create(**ask)
        except OpenAIError as error:
            print(type(error).__name__)
        turn.output = "done"
instrument.feedback(turn.id, thumb="up", comment="good")
print(turn.id)
"""


@pytest.fixture
def openai_server() -> Iterator[FakeOpenAI]:
    """A fake OpenAI that answers twice and then refuses."""
    with FakeOpenAI() as server:
        server.reply(text="Hello!")
        server.reply(text="Hello again!")
        server.reply(status=400, error={"message": "no"})
        yield server


def run(
    folder: Path, server: FakeOpenAI, *, when: str = "after", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder of its own, with only these variables set."""
    program = folder / "program.py"
    line = "instrument.instrument()"
    places = {"before": "", "after": "", when: line}
    program.write_text(PROGRAM.format_map(places))
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, str(program), server.url],
        cwd=folder,
        env={**base, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def show(folder: Path, *arguments: str) -> str:
    """Print the store's traces as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "instrument", "show", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_key(tmp_path: Path, openai_server: FakeOpenAI, when: str) -> None:
    """With no key the runs are in the store, one line says so, and `show` prints the tree."""
    done = run(tmp_path, openai_server, when=when)

    assert done.stdout.split()[0] == "BadRequestError"
    assert len(done.stderr.splitlines()) == 1
    assert "python -m instrument show" in done.stderr
    assert (tmp_path / ".instrument" / ".gitignore").read_text().strip() == "*"
    tree = show(tmp_path)
    assert tree.index("turn") < tree.index("gpt-4o")
    for word in ("Hello!", "Hello again!", "BadRequestError", "u-1"):
        assert word in tree


def test_nothing_without_the_line(tmp_path: Path, openai_server: FakeOpenAI) -> None:
    """Without instrument() nothing is written and nothing is said."""
    done = run(tmp_path, openai_server, when="never")

    assert (done.stderr, sorted(path.name for path in tmp_path.iterdir())) == ("", ["program.py"])


def test_disabled(tmp_path: Path, openai_server: FakeOpenAI) -> None:
    """INSTRUMENT_DISABLED turns the line into nothing."""
    done = run(tmp_path, openai_server, INSTRUMENT_DISABLED="1")

    assert (done.stderr, (tmp_path / ".instrument").exists()) == ("", False)


ROUTES = {
    "report": {"LLMONITOR_APP_ID": PROJECT},
    "ingest": {"LUNARY_PRIVATE_KEY": PRIVATE_KEY},
}


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())
def test_lunary(tmp_path: Path, openai_server: FakeOpenAI, route: dict[str, str]) -> None:
    """Every run arrives nested, with tokens, errors, user and feedback, and no event waits."""
    lunary = Lunary()
    with serve(lunary) as origin:
        done = run(
            tmp_path, openai_server, LUNARY_API_URL=origin, LLMONITOR_API_URL=origin, **route
        )

    rows = list(lunary.rows.values())
    root = lunary.rows[done.stdout.split()[1]]
    calls = [row for row in rows if row.parent_run_id == root.id]
    assert done.stderr == ""
    assert (len(rows), len(calls), lunary.waits, lunary.lost) == (4, 3, 0, [])
    assert sorted(row.status for row in calls) == ["error", "success", "success"]
    assert [row.completion_tokens is not None for row in calls].count(True) == 2
    assert (root.type, root.status, root.feedback) == (
        "agent",
        "success",
        {"thumb": "up", "comment": "good"},
    )
    assert {row.user for row in rows} == {"u-1"}
    assert not (tmp_path / ".instrument").exists()


def test_refused_key(tmp_path: Path, openai_server: FakeOpenAI) -> None:
    """A key that the backend refuses is one line with status and URL, and the program goes on."""
    with serve(Lunary()) as origin:
        done = run(
            tmp_path,
            openai_server,
            LUNARY_PRIVATE_KEY="00000000-0000-4000-8000-00000000dead",
            LUNARY_API_URL=origin,
        )

    lines = [line for line in done.stderr.splitlines() if "401" in line]
    assert len(lines) == 1
    assert f"{origin}/v1/runs/ingest" in lines[0]
    assert "dead" not in done.stderr
    assert done.stdout.split()[0] == "BadRequestError"


LEFT_OPEN = """
import sys, tempfile
keep = tempfile.TemporaryDirectory()  # its finalizer makes weakref's own exit hook the first
import instrument
from openai import OpenAI
instrument.instrument()
client = OpenAI(base_url=sys.argv[1], api_key="sk-test", max_retries=0)
stream = client.chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True
)
next(stream)
"""


def test_stream_left_open_at_exit(tmp_path: Path) -> None:
    """A stream that is open when the process ends is an ended run, partial, with its text so far."""
    program = tmp_path / "program.py"
    program.write_text(LEFT_OPEN)
    with FakeOpenAI() as server:
        server.reply(chunks=["Hel", "lo"] * 20, pace=0.02)
        subprocess.run(
            [sys.executable, str(program), server.url],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
            capture_output=True,
            timeout=60,
            check=False,  # CPython 3.13.0 crashes when such a program has ended, without us too
        )

    assert "exit" in show(tmp_path)
