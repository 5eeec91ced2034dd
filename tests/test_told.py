"""What the application itself tells becomes runs and user events like any other."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

import instrument
from instrument.context import context
from instrument.recorder import Recorder, installed
from instrument.run import Run
from instrument.testing.loopback import Loopback
from instrument.told import UNKNOWN_MODEL, interaction, user_event, utc
from tests.fakes import trubrics as fakes

END = datetime(2024, 10, 9, 13, 0, 2, tzinfo=timezone.utc)


def told(*args: Any, **kwargs: Any) -> Run:
    """Record an interaction and give its run."""
    records: list[Any] = []
    installed.append(Recorder(records.append))
    try:
        run_id = interaction(*args, **kwargs)
    finally:
        installed.pop()
    [record] = records
    run = record.decode()
    assert isinstance(run, Run)
    assert run.id == run_id
    return run


def test_interaction_is_an_ended_run() -> None:
    """A question and an answer become an ended llm run with those times, user and thread."""
    start = END - timedelta(seconds=2)
    run = told("Hi", "Hello", model="m", started_at=start, ended_at=END, user_id="u", thread_id="t")

    assert (run.kind, run.name, run.user_id, run.thread_id) == ("llm", "m", "u", "t")
    assert (run.started_at, run.ended_at) == (start, END)
    assert orjson.loads(run.input or b"") == [{"role": "user", "content": "Hi"}]
    assert orjson.loads(run.output or b"") == {"role": "assistant", "content": "Hello"}


def test_interaction_of_messages_in_a_context() -> None:
    """Messages stay as they are, and what is bound counts."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    with context(user_id="bound"):
        run = told(messages, {"role": "assistant", "content": None, "refusal": "No."})

    assert (run.name, run.user_id, run.duration) == (UNKNOWN_MODEL, "bound", 0.0)
    assert orjson.loads(run.input or b"") == messages


def test_user_event_takes_what_is_bound() -> None:
    """User and thread come from the context; a user that is named counts first."""
    with context(user_id="bound", thread_id="t"):
        events = [user_event("Sign Up"), user_event("Sign Up", user_id="u", properties={"a": {1}})]

    assert [event.user_id for event in events] == ["bound", "u"]
    assert [event.thread_id for event in events] == ["t", "t"]
    assert events[1].properties == {"a": [1]}


@pytest.mark.parametrize(
    ("name", "given"), [("event", {"event": 1}), ("user_id", {"event": "x", "user_id": 1})]
)
def test_wrong_types(name: str, given: dict[str, Any]) -> None:
    """A wrong type is an error at the call that names the argument."""
    with pytest.raises(TypeError, match=f"{name} must be a string"):
        user_event(**given)


def test_times_without_a_zone_are_utc() -> None:
    """A time without a zone is UTC, one of another zone is turned into UTC."""
    there = END.astimezone(timezone(timedelta(hours=5)))

    assert utc(END.replace(tzinfo=None)) == END
    assert utc(there).isoformat() == END.isoformat()


def test_public_functions_without_instrument() -> None:
    """Where nothing is traced, telling does nothing, but a wrong type is still an error."""
    instrument.track("Sign Up")
    assert instrument.interaction("Hi", "Hello") is None
    wrong: Any = 1
    with pytest.raises(TypeError, match="event must be a string"):
        instrument.track(wrong)


def test_public_functions() -> None:
    """What is told goes to the destinations; the configured user stands in for nobody."""
    server = fakes.Trubrics()
    with Loopback(server.answer) as loopback:
        host = f"http://127.0.0.1:{loopback.port}/api/ingestion"
        instrument.instrument(exporters=[instrument.Trubrics("key", host)], user_id="default")
        instrument.track("Sign Up", properties={"plan": "pro"})
        run_id = instrument.interaction("Hi", "Hello", user_id="u", model="m")
        instrument.shutdown()

    [event] = server.events("publish_events")
    [pair] = server.events("publish_llm_events")
    assert (event["event"], event["user_id"]) == ("Sign Up", "default")
    assert (pair["user_id"], pair["prompt"], pair["generation"]) == ("u", "Hi", "Hello")
    assert pair["properties"]["run_id"] == run_id
