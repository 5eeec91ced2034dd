"""The three destinations over the real transport: from begun runs to what their servers hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson

from instrument.context import context
from instrument.exporters._base import HttpExporter
from instrument.exporters.honeyhive import HoneyHive
from instrument.exporters.nebuly import Nebuly
from instrument.exporters.trubrics import Trubrics
from instrument.recorder import Facts, Note, Recorder
from instrument.run import Answer, Feedback, UserEvent
from instrument.snapshot import snapshot
from instrument.testing.loopback import Loopback
from instrument.transport import Bounds, Transport
from tests.fakes import honeyhive, nebuly, trubrics

BOUNDS = Bounds(flush_interval=0.02, backoff_base=0.01)
ASKED = snapshot([{"role": "user", "content": "Hello"}])
ANSWERED = snapshot({"role": "assistant", "content": "Hello sir"})


@contextmanager
def delivering(*pairs: tuple[Callable[[str], HttpExporter], Any]) -> Iterator[Transport]:
    """Put each fake server on loopback, with its exporter on one transport."""
    with ExitStack() as stack:
        exporters = []
        for make, fake in pairs:
            server = stack.enter_context(Loopback(fake.answer))
            exporters.append(make(f"http://127.0.0.1:{server.port}"))
        transport = Transport(exporters, bounds=BOUNDS)
        yield transport
        transport.shutdown(5)


def record_chain(recorder: Recorder) -> tuple[str, str]:
    """Record a chain of a retriever and a model call; give the ids of the chain and of the call."""
    facts: Facts = {"input": ASKED, "output": ANSWERED, "answer": Answer(provider="openai")}
    with context(user_id="u-42", thread_id="thread-7"):
        root = recorder.begin("chain", "RunnableSequence")
        retriever = recorder.begin_under(root, "retriever", "VectorStoreRetriever")
        retriever.end({"input": snapshot("Hello"), "output": snapshot(["doc one"])})
        call = recorder.begin_under(root, "llm", "gpt-4o")
        call.end(facts)
        root.end({"input": snapshot({"question": "Hello"}), "output": snapshot("Hello sir")})
    return root.id, call.id


def test_one_chain_reaches_all_three() -> None:
    """One recorded chain, a feedback and a user event reach each server in its own form."""
    servers = trubrics.Trubrics(), nebuly.Nebuly(), honeyhive.HoneyHive()
    makers = (
        lambda origin: Trubrics("key", origin + "/api/ingestion"),
        lambda origin: Nebuly("key", origin),
        lambda origin: HoneyHive("key", origin),
    )
    with delivering(*zip(makers, servers, strict=True)) as transport:
        root, call = record_chain(Recorder(transport.publish))
        later = datetime.now(timezone.utc) + timedelta(seconds=1)
        transport.flush(5)
        transport.publish(Note(Feedback(run_id=call, at=later, thumb="up")))
        transport.publish(Note(UserEvent(name="Sign Up", at=later, user_id="u-42")))
        transport.flush(5)
        lanes = transport.stats()["lanes"]

    assert {name: lane["delivered"] for name, lane in lanes.items()} == {
        "trubrics": 3,
        "nebuly": 2,
        "honeyhive": 4,
    }
    told, (interaction,), hive = servers[0], servers[1].interactions, servers[2]
    assert [event["event"] for event in told.events("publish_events")] == ["Feedback", "Sign Up"]
    assert [event["prompt"] for event in told.events("publish_llm_events")] == ["Hello"]
    assert [trace.get("source") for trace in interaction["traces"]] == [
        "VectorStoreRetriever",
        None,
    ]
    assert [action["slug"] for action, _ in servers[1].actions] == ["thumbs_up"]
    assert hive.events[call]["parent_id"] == root
    assert hive.events[call]["feedback"] == {"thumb": "up"}
    assert list(hive.starts.values()) == [1]


def test_half_stored_batch_is_finished() -> None:
    """After a 500 that names what it stored, each event is there, and was posted once."""
    server = honeyhive.HoneyHive(breaks_after=2)
    with delivering((lambda origin: HoneyHive("key", origin), server)) as transport:
        record_chain(Recorder(transport.publish))
        flushed = transport.flush(5)

    assert (flushed.delivered, flushed.pending, flushed.dropped) == (3, 0, 0)
    assert sorted(server.posted.values()) == [1, 1, 1]


def test_answers_alone() -> None:
    """With runs="answers" Trubrics has the one answer of a tree, and it makes its sessions of them."""
    server = trubrics.Trubrics()

    def make(origin: str) -> HttpExporter:
        return Trubrics("key", origin + "/api/ingestion", runs="answers")

    with delivering((make, server)) as transport:
        for _ in range(2):
            record_chain(Recorder(transport.publish))
        transport.flush(5)

    [session] = server.sessions("u-42")
    assert [event["generation"] for event in session] == ["Hello sir"] * 2


def test_no_empty_posts() -> None:
    """Nothing is posted for what a destination has no use for."""
    server = trubrics.Trubrics()
    with delivering(
        (lambda origin: Trubrics("key", origin + "/api/ingestion"), server)
    ) as transport:
        Recorder(transport.publish).begin("tool", "weather").end({"output": snapshot(1)})
        flushed = transport.flush(5)

    assert (flushed.pending, server.posts) == (0, [])


def test_bodies_are_small() -> None:
    """A long prompt arrives whole, although it travels compressed."""
    server = trubrics.Trubrics()
    text = "word " * 200_000
    with delivering(
        (lambda origin: Trubrics("key", origin + "/api/ingestion"), server)
    ) as transport:
        with context(user_id="u"):
            facts: Facts = {"input": snapshot([{"role": "user", "content": text}])}
            Recorder(transport.publish).begin("llm", "gpt-4o").end({**facts, "output": ANSWERED})
        transport.flush(5)

    [event] = server.events("publish_llm_events")
    assert orjson.dumps(event["prompt"]) == orjson.dumps(text)
