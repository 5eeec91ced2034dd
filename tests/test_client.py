"""What `instrument()` puts up, and what the other public functions do with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import instrument
from instrument import recorder as recorders
from instrument.run import Feedback, Run, UserEvent
from instrument.testing import capture
from tests.fakes.kept import Kept


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Tracing is on, to a destination that keeps what it gets."""
    exporter = Kept()
    instrument.instrument(exporters=[exporter], flush_interval=0.05)
    yield exporter
    instrument.uninstrument()


def test_twice_is_once(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """A second call changes nothing; one that asks for something else says so."""
    first = recorders.installed[-1]
    instrument.instrument()
    assert caplog.text == ""
    instrument.instrument(exporters=[Kept("other")])

    assert "call uninstrument() first" in caplog.text
    assert recorders.installed == [first]


def test_several_threads_at_once() -> None:
    """Threads that begin to trace in the same moment begin it once."""
    together, kept = threading.Barrier(8), Kept()

    def begin(number: int) -> None:
        together.wait()
        instrument.instrument(exporters=[kept])
        with instrument.trace(str(number)):
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(begin, range(8)))
    count = len(recorders.installed)
    instrument.uninstrument()

    assert count == 1
    ended = [item.name for item in kept.items if isinstance(item, Run) and item.duration]
    assert sorted(ended) == [str(number) for number in range(8)]
    assert not recorders.installed


def test_on_off_on() -> None:
    """Tracing may be stopped and begun again, to another destination."""
    first, second = Kept("first"), Kept("second")
    for exporter in (first, second):
        instrument.instrument(exporters=[exporter])
        with instrument.trace(exporter.name):
            pass
        instrument.uninstrument()
    with instrument.trace("nobody"):
        pass
    instrument.flush()

    assert {item.name for item in first.items if isinstance(item, Run)} == {"first"}
    assert {item.name for item in second.items if isinstance(item, Run)} == {"second"}


def test_open_when_stopped(kept: Kept) -> None:
    """A run that is open when tracing stops is delivered when it ends."""
    with instrument.trace("outlives"):
        instrument.uninstrument()
    instrument.flush()

    assert [item.name for item in kept.items if isinstance(item, Run) and item.duration] == [
        "outlives"
    ]


def test_flush_and_stats(kept: Kept) -> None:
    """flush() says what was delivered, and the ledger adds up."""
    for _ in range(7):
        with instrument.trace("run"):
            pass
    flushed = instrument.flush()
    lane = instrument.stats()["lanes"]["kept"]

    assert (flushed.pending, flushed.dropped) == (0, 0)
    assert len({item.id for item in kept.items if isinstance(item, Run)}) == 7
    assert lane["accepted"] == lane["delivered"] + lane["queued"] + sum(lane["dropped"].values())


def test_feedback(kept: Kept) -> None:
    """Feedback reaches the destinations with its run's id, and with the user that is bound."""
    with instrument.context(user_id="ada"):
        instrument.feedback("run-1", thumb="down", score=0.25, comment="no")
    instrument.flush()

    said = kept.items[0]
    assert isinstance(said, Feedback)
    assert (said.run_id, said.thumb, said.score, said.comment, said.user_id) == (
        "run-1",
        "down",
        0.25,
        "no",
        "ada",
    )


@pytest.mark.parametrize("arguments", [{}, {"thumb": "sideways"}])
def test_empty_feedback(arguments: dict[str, Any]) -> None:
    """Feedback that says nothing, or in a word that there is not, is told at once."""
    with pytest.raises(ValueError, match=r"thumb"):
        instrument.feedback("r", **arguments)


def test_track(kept: Kept) -> None:
    """A user event has its name, user, thread and properties, and a naive time is UTC."""
    with instrument.context(user_id="ada", thread_id="t"):
        instrument.track("Sign Up", properties={"plan": "pro"}, timestamp=datetime(2026, 1, 1))
    instrument.flush()

    event = kept.items[0]
    assert isinstance(event, UserEvent)
    assert (event.name, event.user_id, event.thread_id) == ("Sign Up", "ada", "t")
    assert event.at.utcoffset() == timedelta(0)


def test_told_inside_capture() -> None:
    """What is told inside a capturing block is captured there."""
    with capture() as runs:
        instrument.feedback("r", thumb="up")
        instrument.track("Copy", user_id="u")

    assert [type(item) for item in runs.items] == [Feedback, UserEvent]


def test_nothing_on() -> None:
    """Without instrument() everything public can be called, and nothing happens."""
    instrument.feedback("r", thumb="up")
    instrument.track("Copy", user_id="u")

    assert instrument.interaction("a", "b") is None
    assert instrument.flush() == instrument.shutdown()
    assert instrument.stats()["failures"] == {}
    instrument.uninstrument()


def test_wrong_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting is raised to whoever called, and nothing is put up."""
    monkeypatch.setenv("INSTRUMENT_EXPORTERS", "nowhere")
    with pytest.raises(instrument.ConfigError, match="nowhere"):
        instrument.instrument()

    assert recorders.installed == []


def test_settings_after_a_handler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """What the application asks for takes the place of what a handler began by itself."""
    monkeypatch.setenv("INSTRUMENT_EXPORTERS", "jsonl")
    monkeypatch.setenv("INSTRUMENT_JSONL", str(tmp_path / "runs.jsonl"))
    recorders.starters[-1]()
    with instrument.trace("before"):
        pass
    kept = Kept()
    with pytest.raises(instrument.ConfigError):
        instrument.instrument(sample_rate=7)
    instrument.instrument(exporters=[kept], redact=lambda _: "redacted")
    with instrument.trace("after", input="secret"):
        pass
    assert not caplog.text
    instrument.instrument(exporters=[Kept("other")])
    instrument.uninstrument()

    assert "call uninstrument() first" in caplog.text
    runs = [item for item in kept.items if isinstance(item, Run) and item.duration]
    assert [(run.name, run.input) for run in runs] == [("after", b'"redacted"')]
    assert '"before"' in (tmp_path / "runs.jsonl").read_text()


def test_started_by_a_handler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Whoever needs a recorder starts from the environment; wrong settings are a warning there."""
    monkeypatch.setenv("INSTRUMENT_EXPORTERS", "nowhere")
    assert recorders.starters[-1]() is None
    monkeypatch.setenv("INSTRUMENT_EXPORTERS", "sqlite")
    monkeypatch.setenv("INSTRUMENT_STORE", str(tmp_path / "runs.db"))

    assert recorders.starters[-1]() is recorders.installed[-1]
    assert "no exporter named 'nowhere'" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
