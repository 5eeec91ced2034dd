"""The command line: what it prints, and how it ends."""

import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from instrument import cli
from instrument.exporters.sqlite import SqliteExporter
from instrument.run import Run, Snapshot

ROOT = Path(__file__).resolve().parent.parent
NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path):
    """A store with three traces, an hour apart."""
    path = tmp_path / "runs.db"
    exporter = SqliteExporter(path)
    exporter.write([run(number) for number in range(3)])
    exporter.close()
    return path


def run(number):
    return Run(
        id=f"00000000-0000-4000-8000-00000000000{number}",
        trace_id=f"00000000-0000-4000-8000-00000000000{number}",
        parent_id=None,
        kind="llm",
        name="gpt-4o-mini",
        started_at=NOON + timedelta(hours=number),
        duration=0.5,
        input=Snapshot(b'[{"role":"user","content":"question %d"}]' % number),
        output=Snapshot('{"role":"assistant","content":"äöü ✓"}'.encode()),
    )


def process(*words, **env):
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "instrument", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        check=False,
    )


def test_show(store, capsys):
    """The newest traces are printed as trees, the newest last, without colours in a pipe."""
    assert cli.main(["show", "--store", str(store)]) == 0

    printed = capsys.readouterr().out
    assert re.findall(r"question \d", printed) == ["question 0", "question 1", "question 2"]
    assert "\x1b" not in printed


def test_limit_and_width(store, capsys):
    """The newest so many are shown, and no line is wider than asked for."""
    cli.main(["show", "--store", str(store), "--limit", "1", "--width", "30"])

    printed = capsys.readouterr().out
    assert re.findall(r"question \d", printed) == ["question 2"]
    assert max(map(len, printed.splitlines())) <= 30


def test_store_from_the_environment(store):
    """INSTRUMENT_STORE says which file is meant."""
    assert process("show", INSTRUMENT_STORE=str(store)).returncode == 0


def test_no_store(tmp_path, capsys):
    """Without a store there is a sentence on stderr that says how to make one, and exit code 1."""
    assert cli.main(["show", "--store", str(tmp_path / "none.db")]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert "instrument run app.py" in said.err


def test_not_a_store(tmp_path, capsys):
    """A file that is no store is named in a sentence, and left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, by any stretch of the imagination" * 50)

    assert cli.main(["show", "--store", str(path)]) == 1
    assert str(path) in capsys.readouterr().err
    assert path.read_text().startswith("not a database")


@pytest.mark.parametrize(
    "words",
    [[], ["nonsense"], ["run"], ["show", "--limit", "0"], ["show", "--since", "yesterday-ish"]],
)
def test_wrong_usage(words, capsys):
    """What cannot be understood ends with exit code 2 and the usage."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)

    assert ended.value.code == 2
    assert "usage: instrument" in capsys.readouterr().err


def test_narrow_character_set(store):
    """A terminal that cannot print a character prints a stand-in, and nothing fails."""
    done = process("show", "--store", store, PYTHONIOENCODING="ascii")

    assert done.returncode == 0, done.stderr
    assert b"question 2" in done.stdout


def test_closed_pipe(store):
    """A reader that has had enough (`| head`) ends the output without a complaint."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "instrument", "show", "--store", str(store)]

    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)

    assert done.stderr == b""
