"""The Trubrics client does what its documentation and the vendor's own client do, and less harm."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import instrument
from instrument import client as composition
from instrument.exporters._base import HttpExporter
from instrument.run import ConfigError
from instrument.testing.loopback import Loopback, Request, Response
from instrument.trubrics_client import Trubrics
from tests.exporters.cases import run
from tests.fakes import trubrics as fakes

NOON = datetime(2024, 10, 9, 12, 0, tzinfo=timezone.utc)
LLM: dict[str, Any] = {"user_id": "u", "prompt": "p", "generation": "g"}


@pytest.fixture
def server() -> Iterator[fakes.Trubrics]:
    """Run a fake Trubrics, its address in `host`."""
    fake = fakes.Trubrics(keys=("key", "other"))
    with Loopback(fake.answer) as loopback:
        fake.host = f"http://127.0.0.1:{loopback.port}/api/ingestion"
        yield fake


def drive(trubrics: Any, *, event: str = "Sign Up") -> None:
    """Do what the documentation shows, and what it says to be optional."""
    trubrics.track(
        event=event, user_id="u-1", properties={"country": "USA", "deep": {"a": [1, None]}}
    )
    trubrics.track(event="Sign In", user_id="u-1", timestamp=NOON)
    trubrics.track_llm(
        user_id="u-1",
        prompt="What is Trubrics?",
        assistant_id="gpt4o",
        generation="A platform.",
        properties={"$thread_id": "t-1", "model": "gpt-4"},
        timestamp=NOON + timedelta(microseconds=1500),
        latency=2,
    )
    trubrics.track_llm(
        user_id="ü-2",
        prompt="",
        generation="Grüße 你好",
        thread_id="t-2",
        prompt_event_name="Question",
        generation_event_name="Answer",
        timestamp=NOON,
    )
    trubrics.flush()
    trubrics.track_llm(user_id="u-3", prompt="p", generation="g", timestamp=NOON)
    trubrics.close()


def test_documented_calls(server: fakes.Trubrics) -> None:
    """Events and pairs arrive as the documentation has them, without `instrument()`."""
    drive(Trubrics("key", host=server.host))

    first, _ = server.events("publish_events")
    pair, second, _ = server.events("publish_llm_events")
    assert first["properties"] == {"country": "USA", "deep": {"a": [1, None]}}
    assert (pair["latency"], pair["timestamp"]) == (2, "2024-10-09T12:00:00.002Z")
    assert (second["thread_id"], second["prompt_event_name"]) == ("t-2", "Question")
    assert composition._client is None


def test_same_events_as_the_vendors_client() -> None:
    """One script through both clients gives the same events; ours makes no empty posts."""
    vendor = pytest.importorskip("trubrics").Trubrics
    logging.getLogger("trubrics").setLevel(logging.CRITICAL)
    seen = []
    for make in (vendor, Trubrics):
        fake = fakes.Trubrics()
        with Loopback(fake.answer) as loopback:
            host = f"http://127.0.0.1:{loopback.port}/api/ingestion"
            drive(make("key", host=host, flush_interval=20, flush_batch_size=10))
        seen.append(fake)
    theirs, ours = seen

    for route in fakes.ROUTES:
        assert list(map(same, ours.events(route))) == list(map(same, theirs.events(route)))
    assert any(not events for _, _, events in theirs.posts)
    assert all(events for _, _, events in ours.posts)


def same(event: dict[str, Any]) -> dict[str, Any]:
    """Make what may differ comparable: the moment to the millisecond, or that it is just now."""
    at = datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))
    now = at > NOON + timedelta(days=1)
    moment = "now" if now else round((at - NOON) / timedelta(milliseconds=1))
    return {**event, "timestamp": moment}


def test_two_clients(server: fakes.Trubrics) -> None:
    """Two clients with different keys at once do not know of each other."""
    one, other = (Trubrics(key, host=server.host) for key in server.keys)
    one.track(event="one", user_id="u")
    other.track(event="other", user_id="u")
    other.close()
    one.close()

    assert [event["event"] for event in server.events("publish_events", "key")] == ["one"]
    assert [event["event"] for event in server.events("publish_events", "other")] == ["other"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", 7),
        ("prompt", None),
        ("generation", ["x"]),
        ("assistant_id", 1),
        ("thread_id", 1),
        ("properties", "x"),
        ("timestamp", "2024-10-09"),
        ("latency", "2"),
        ("latency", True),
        ("prompt_event_name", None),
    ],
)
def test_wrong_types_of_a_pair(name: str, value: Any) -> None:
    """A wrong type is an error at the call, and names the argument."""
    with pytest.raises(TypeError, match=f"^{name} must be "):
        Trubrics("key").track_llm(**{**LLM, name: value})


@pytest.mark.parametrize(("name", "value"), [("event", 1), ("user_id", None), ("timestamp", 0)])
def test_wrong_types_of_an_event(name: str, value: Any) -> None:
    """The same for events."""
    with pytest.raises(TypeError, match=f"^{name} must be "):
        Trubrics("key").track(**{"event": "e", "user_id": "u", name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("flush_interval", "10"), ("flush_batch_size", 2.5), ("logger", "x")]
)
def test_wrong_settings(name: str, value: Any) -> None:
    """The same for the client's own settings."""
    with pytest.raises(TypeError, match=f"^{name} must be "):
        Trubrics("key", **{name: value})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"flush_interval": 0.2}, "flush_interval of 0.2 s is too short: it is set to 1.0 s"),
        ({"flush_batch_size": 500}, "flush_batch_size of 500 is not 1 to 100: it is set to 100"),
        ({"flush_batch_size": 0}, "flush_batch_size of 0 is not 1 to 100: it is set to 1"),
    ],
)
@pytest.mark.parametrize("logger", [None, logging.getLogger("mine")])
def test_clamped_settings(
    given: dict[str, Any],
    said: str,
    logger: logging.Logger | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A setting out of its range is clamped as the vendor's client does, with a warning."""
    made = Trubrics("key", logger=logger, **given)

    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", said)
    assert record.name == ("instrument" if logger is None else "mine")
    assert 1 <= made.limits.max_items <= 100


def test_batch_size(server: fakes.Trubrics) -> None:
    """The batch size is the most that one request holds."""
    made = Trubrics("key", host=server.host, flush_batch_size=2)
    for number in range(5):
        made.track(event=str(number), user_id="u")
    made.close()

    assert max(len(events) for _, _, events in server.posts) <= 2
    assert [event["event"] for event in server.events("publish_events")] == list("01234")


def test_interval(server: fakes.Trubrics) -> None:
    """What was tracked goes out by itself, when the interval has passed."""
    made = Trubrics("key", host=server.host, flush_interval=1)
    made.track(event="e", user_id="u")
    deadline = time.monotonic() + 5
    while not server.posts and time.monotonic() < deadline:
        time.sleep(0.02)

    assert len(server.posts) == 1
    made.close()


def test_naive_times_are_utc(server: fakes.Trubrics) -> None:
    """A time without a zone is UTC; one of another zone is turned into UTC."""
    made = Trubrics("key", host=server.host)
    for at in (NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=-5)))):
        made.track(event="e", user_id="u", timestamp=at)
    made.close()

    times = {event["timestamp"] for event in server.events("publish_events")}
    assert times == {"2024-10-09T12:00:00.000Z"}


def test_properties_are_the_callers(server: fakes.Trubrics) -> None:
    """Properties are copied at the call, whatever they hold."""
    made = Trubrics("key", host=server.host)
    properties: dict[str, Any] = {"when": NOON, "odd": object(), "list": [1]}
    made.track(event="e", user_id="u", properties=properties)
    properties["list"].append(2)
    made.close()

    [event] = server.events("publish_events")
    assert event["properties"]["list"] == [1]
    assert event["properties"]["odd"] == "<builtins.object>"


def test_no_user(server: fakes.Trubrics) -> None:
    """An event of nobody is dropped and counted, not sent."""
    made = Trubrics("key", host=server.host)
    made.track(event="e", user_id="")

    assert made.close().dropped == 1
    assert server.posts == []


def test_nothing_to_do() -> None:
    """A client that tracked nothing starts nothing and ends at once."""
    made = Trubrics("key", host="http://127.0.0.1:9/")

    assert (made.flush().delivered, made.close().delivered) == (0, 0)


def test_tracking_never_waits() -> None:
    """A server that hangs delays neither the caller nor, beyond its bound, the end."""
    with Loopback(lambda _: Response(ending="hang", body=b"{}")) as hung:
        made = Trubrics("key", host=f"http://127.0.0.1:{hung.port}", flush_batch_size=1)
        begun = time.monotonic()
        for _ in range(100):
            made.track_llm(**LLM)
        tracked = time.monotonic() - begun
        flushed = made.close(timeout=0.5)

    assert tracked < 0.5
    assert time.monotonic() - begun < 4
    assert flushed.dropped + flushed.pending == 100


def test_messages(server: fakes.Trubrics, caplog: pytest.LogCaptureFixture) -> None:
    """The given logger hears what became of the events, and never what they held."""
    mine = logging.getLogger("mine.messages")
    mine.setLevel(logging.DEBUG)
    server.failures = [422]
    made = Trubrics("key", host=server.host, logger=mine)
    made.track(event="private event", user_id="private user")
    made.flush()
    made.track(event="private event", user_id="private user")
    made.close()
    made.track(event="private event", user_id="private user")

    said = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == mine.name]
    assert ("ERROR", "Trubrics refused 1 events with status 422") in said
    assert ("INFO", "1 events sent to Trubrics") in said
    assert ("ERROR", "an event was tracked after close() and is lost") in said
    assert "private" not in caplog.text


def test_default_logger() -> None:
    """Without a logger only errors are said, unless somebody chose another level."""
    default = logging.getLogger("instrument.trubrics")
    default.setLevel(logging.NOTSET)
    Trubrics("key")
    level = default.level
    default.setLevel(logging.DEBUG)
    Trubrics("key")

    assert (level, default.level) == (logging.ERROR, logging.DEBUG)
    default.setLevel(logging.NOTSET)


def test_key_and_host_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not given comes from the environment; without a key it says what to do."""
    monkeypatch.delenv("TRUBRICS_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="set TRUBRICS_API_KEY"):
        Trubrics()
    monkeypatch.setenv("TRUBRICS_API_KEY", "k")
    monkeypatch.setenv("TRUBRICS_HOST", "http://host/api")

    [request] = Trubrics(runs="answers").encode([run()], ()).requests
    assert request.url == "http://host/api/publish_llm_events"


def test_is_an_exporter_too(server: fakes.Trubrics) -> None:
    """The same object is a destination for `instrument()`."""
    made = Trubrics("key", host=server.host, runs="answers")

    assert isinstance(made, HttpExporter)
    assert made.whole_traces
    assert instrument.Trubrics is Trubrics


PROGRAM = """
import sys
from instrument import Trubrics
trubrics = Trubrics("key", host=sys.argv[1])
trubrics.track(event="last words", user_id="u")
"""


def run_program(host: str) -> float:
    """Run a program that tracks and ends without closing; give its seconds."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", PROGRAM, host], check=True, timeout=30)
    return time.monotonic() - begun


def test_end_of_the_process(server: fakes.Trubrics) -> None:
    """What was tracked is delivered at the end of the process, close() or not."""
    run_program(server.host)

    assert [event["event"] for event in server.events("publish_events")] == ["last words"]


def test_end_with_a_hung_server() -> None:
    """A server that hangs holds up the end of the process by 5 s at most."""

    def hang(request: Request) -> Response:
        return Response(ending="hang", body=b"{}")

    with Loopback(hang) as hung:
        assert run_program(f"http://127.0.0.1:{hung.port}") < 7
