"""`show` with filters, as JSON and as it comes, and `stats`: what they print, and how they end."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from instrument import cli
from instrument.commands.asking import filters_of, is_meant, moment
from instrument.commands.printing import writable
from instrument.commands.show import arriving
from instrument.exporters.sqlite import SqliteExporter
from instrument.run import Answer, Error, Feedback, Run, Usage
from instrument.snapshot import snapshot
from instrument.store import Filters
from instrument.terminal.table import table

ROOT = Path(__file__).resolve().parent.parent
NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


def run(number, **changes):
    """Make a model call of its own trace, an hour after the one before it."""
    run_id = f"00000000-0000-4000-8000-{number:012d}"
    fields = {
        "kind": "llm",
        "name": "gpt-4o",
        "duration": 0.5,
        "input": snapshot([{"role": "user", "content": f"question {number}"}]),
        "output": snapshot({"role": "assistant", "content": "yes"}),
        "usage": Usage(prompt=1000, completion=100),
        "answer": Answer(provider="nobody", model="gpt-4o-2024-08-06"),
        "user_id": "ada",
    }
    return Run(
        id=run_id,
        trace_id=run_id,
        parent_id=None,
        started_at=NOON + timedelta(hours=number),
        **{**fields, **changes},
    )


RUNS = [
    run(0, thread_id="t-1", tags=("beta",)),
    run(1, name="o3", user_id="grace"),
    run(2, error=Error("no", "RateLimitError", status=429), output=None, usage=None),
    run(3, partial="closed"),
]


@pytest.fixture
def store(tmp_path):
    """A store with four traces and a thumb."""
    return write(tmp_path / "runs.db", [*RUNS, Feedback(run_id=RUNS[0].id, at=NOON, thumb="up")])


def write(path, items):
    exporter = SqliteExporter(path)
    exporter.write(items)
    exporter.close()
    return path


def printed(capsys, *words):
    """Return what a command prints, which ends well."""
    assert cli.main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--status", "error"], [2]),
        (["--status", "partial"], [3]),
        (["--model", "o3"], [1]),
        (["--user", "ada"], [0, 2, 3]),
        (["--thread", "t-1"], [0]),
        (["--tag", "beta"], [0]),
        (["--since", "2026-05-01T14:00Z"], [2, 3]),
        (["--user", "ada", "--status", "ok"], [0]),
    ],
    ids=str,
)
def test_filters(store, capsys, words, shown):
    """Only traces with a run of which all of it holds are printed; the reader agrees with the store."""
    text = printed(capsys, "show", "--store", store, *words)

    assert [n for n in range(4) if f"question {n}" in text] == shown
    filters = cli_filters(words)
    assert [n for n in range(4) if is_meant(RUNS[n], filters)] == shown


def cli_filters(words):
    return filters_of(cli.parser().parse_args(["show", *words]))


def test_nothing_of_that_kind(store, capsys):
    """When no run is meant, that is said, with exit code 1."""
    assert cli.main(["show", "--store", str(store), "--user", "nobody"]) == 1
    assert "no such runs" in capsys.readouterr().err


def test_json(store, capsys):
    """A line for each trace, with what was said as it is, and no cost that is not known."""
    lines = printed(capsys, "show", "--store", store, "--json").splitlines()
    traces = [json.loads(line) for line in lines]

    [first] = traces[0]["runs"]
    assert [trace["trace_id"] for trace in traces] == [each.trace_id for each in RUNS]
    assert first["input"] == [{"role": "user", "content": "question 0"}]
    assert first["status"] == "ok"
    assert "cost" not in first
    assert traces[0]["feedback"][0]["thumb"] == "up"


@pytest.mark.parametrize(
    ("text", "ago"),
    [("30m", timedelta(minutes=30)), ("1.5h", timedelta(minutes=90)), ("7d", timedelta(days=7))],
)
def test_moments_ago(text, ago):
    """A number and a letter say how long ago."""
    assert abs(datetime.now(timezone.utc) - ago - moment(text)) < timedelta(seconds=5)


def test_moments_by_date():
    """A date and a time are those of this machine, unless they say their zone."""
    assert moment("2026-05-01T12:00:00Z") == NOON
    assert moment("2026-05-01 14:00:00+02:00") == NOON
    assert moment("2026-05-01") == datetime(2026, 5, 1).astimezone()


class Follower:
    """`show --follow` in a process of its own."""

    def __init__(self, path, *words):
        command = [sys.executable, "-m", "instrument", "show", "--follow", "--store", str(path)]
        self.process = subprocess.Popen(
            [*command, *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._timer = threading.Timer(20, self.process.kill)
        self._timer.start()

    def line(self, part, stream="stdout"):
        """Wait for a line that holds such a part."""
        for line in getattr(self.process, stream):
            if part in line:
                return line
        self.end()
        raise AssertionError(f"it ended without {part!r}")

    def end(self):
        """End it as Ctrl-C does, and return its exit code."""
        self._timer.cancel()
        self.process.send_signal(2)
        self.process.communicate(timeout=20)
        return self.process.returncode


def test_follow(tmp_path):
    """It waits for the first run, prints each trace once as its root ends, and ends by Ctrl-C."""
    path = tmp_path / "runs.db"
    now = datetime.now(timezone.utc)
    first, other, last = (replace(RUNS[n], started_at=now) for n in (0, 1, 3))
    follower = Follower(path, "--user", "ada")
    follower.line("waiting for the first run", "stderr")

    write(path, [replace(first, duration=None), other])
    write(path, [first])
    follower.line("question 0")
    write(path, [first, last])

    assert "question 3" in follower.line("question")
    assert follower.end() == 0


def test_stats(store, capsys):
    """Figures in all, by model and by user; what is not known is left out."""
    text = printed(capsys, "stats", "--store", store, "--width", "100")

    head, models, users = text.split("\n\n")[:3]
    assert head == ("4 traces of 4 runs, 4 model calls, 3,000 → 300 tokens, 1 failed")
    assert [line.split()[:2] for line in models.splitlines()] == [
        ["model", "calls"],
        ["gpt-4o", "3"],
        ["o3", "1"],
    ]
    assert "grace" in users
    assert "500 ms" in users
    assert "$" not in text


def test_stats_as_json(store, capsys):
    """All of it as one object; an unknown cost is null, and says how many calls it leaves out."""
    found = json.loads(
        printed(capsys, "stats", "--store", store, "--json", "--since", "2026-01-01")
    )

    assert found["totals"]["calls"] == 4
    assert found["models"]["gpt-4o"]["errors"] == 1
    assert found["users"]["ada"]["prompt_tokens"] == 2000
    assert found["totals"]["cost"] is None
    assert found["totals"]["calls_without_cost"] >= 3


def test_stats_with_prices(tmp_path, capsys):
    """With prices there is what calls cost; a sum that leaves something out says so."""
    pytest.importorskip("genai_prices")
    priced = run(0, answer=Answer(provider="openai", model="gpt-4o-2024-08-06"))
    path = write(tmp_path / "runs.db", [priced, RUNS[1], RUNS[2]])

    text = printed(capsys, "stats", "--store", path, "--width", "100")
    found = json.loads(printed(capsys, "stats", "--store", path, "--json"))
    assert "$0.0035 + ?" in text.splitlines()[0]
    assert found["models"]["gpt-4o"]["cost"] == 0.0035
    assert found["users"]["grace"] == {**found["users"]["grace"], "cost": None}


@pytest.mark.parametrize("words", [["--store", "none.db"], ["--since", "2099-01-01"]])
def test_no_stats(store, capsys, words, monkeypatch):
    """Without a store, or without runs, there is a sentence and exit code 1."""
    monkeypatch.setenv("INSTRUMENT_STORE", str(store))

    assert cli.main(["stats", *words]) == 1
    assert "no runs" in capsys.readouterr().err


def test_many_models_are_cut(tmp_path, capsys):
    """At most twenty models are listed, and it is said how many there are more."""
    path = write(tmp_path / "runs.db", [run(n, name=f"model-{n}", user_id=None) for n in range(23)])

    text = printed(capsys, "stats", "--store", path)
    assert text.count("model-") == 20
    assert "… and 3 more models" in text


@pytest.mark.parametrize("width", [200, 60, 30, 12])
def test_table_fits(width):
    """No line is wider than the terminal; the last columns go first, and empty ones always."""
    rows = [("a rather long name of a model", "12", "", "1,234 → 56"), ("東京", "1", "", "7 → 8")]
    lines = table(("model", "calls", "none", "tokens"), rows, width).splitlines()

    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert "none" not in lines[0]
    assert ("tokens" in lines[0]) == (width >= 60)


def test_everything_is_meant_without_filters():
    """Filters that say nothing hold of every run."""
    assert is_meant(RUNS[0], Filters())


def test_what_arrives(tmp_path):
    """First what is there, oldest first, then each trace as it ends: open ones wait, none twice."""
    now = datetime.now(timezone.utc)
    one, two, three = (replace(RUNS[n], started_at=now + timedelta(seconds=n)) for n in (0, 1, 3))
    path = write(tmp_path / "runs.db", [one, replace(two, duration=None)])
    traces = arriving(path, Filters(), 10)

    assert next(traces).id == one.id
    write(path, [two, three])
    assert {next(traces).id, next(traces).id} == {two.id, three.id}


def test_following_a_file_that_is_no_store(tmp_path, capsys):
    """A store that cannot be read ends it with 1 and a sentence."""
    broken = tmp_path / "broken.db"
    broken.write_text("no database " * 100)

    assert cli.main(["show", "--follow", "--store", str(broken)]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "text"), [("utf-8", "✗ 東京 → é"), ("cp1252", "x ?? > é"), ("ascii", "x ?? > ?")]
)
def test_old_terminals(encoding, text):
    """Whatever the terminal's character set, a failure is told from a success."""
    assert writable("✗ 東京 → é", encoding) == text
    assert writable("✓", encoding) != writable("✗", encoding) != "?"
