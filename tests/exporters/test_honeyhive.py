"""HoneyHive: an event for each ended run, sessions started once, and half-stored batches."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from instrument.exporters import honeyhive
from instrument.exporters._base import HttpExporter, Response
from instrument.exporters.honeyhive import MAX_SESSIONS, HoneyHive, session_of
from instrument.run import Answer, ConfigError, Feedback, Run, Trace, UserEvent
from instrument.snapshot import snapshot
from tests.exporters.cases import (
    CHAIN,
    GOLDEN,
    LLM,
    MAPPING,
    SESSION,
    T0,
    agent,
    at,
    chain,
    partial,
    run,
    step,
)
from tests.exporters.contract import (
    deliver,
    encode,
    golden,
    picture,
    posts,
    same_items,
    sample,
    validators,
)
from tests.fakes import honeyhive as fakes

SCHEMAS = {
    ("POST", "/events/batch"): "honeyhive.events_batch.legacy",
    ("PUT", "/events"): "honeyhive.events_update.legacy",
    ("POST", "/v1/events/batch"): "honeyhive.v1_events_batch",
    ("PUT", f"/v1/events/{LLM}"): "honeyhive.v1_events_update",
}

DIFFERS: Mapping[str, Mapping[str, str]] = {
    "6 streaming (consumed to the end)": {
        "response_model": "every chunk of a stream names the model; case 2 has it without a stream",
    },
    "6b streaming abandoned or broken half-way": {
        "response_model": "so does the first chunk, which is all that an abandoned stream needs",
    },
}
"""Keys of `metadata` in which we differ from a shared sample, and why."""


def exporter(**options: Any) -> HoneyHive:
    """Make the exporter of the samples."""
    return HoneyHive(
        "key", **{"project": "my-project", "source": "production", "cost": None, **options}
    )


def events(runs: list[Run], **options: Any) -> list[dict[str, Any]]:
    """Encode runs, and give the events of all their batches."""
    made = posts(encode(exporter(**options), runs))
    return [event for post in made for event in post["body"]["events"]]


def validate(post: dict[str, Any]) -> None:
    """Validate a request against the schemas of its route."""
    name = SCHEMAS[post["method"], post["url"].removeprefix(honeyhive.ORIGIN)]
    for schema in validators("honeyhive")[name]:
        schema.validate(post["body"])


@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case: str) -> None:
    """Each case becomes the requests in its golden file."""
    assert picture(exporter(), case) == golden("honeyhive", case)


@pytest.mark.parametrize("routes", ["legacy", "v1"])
@pytest.mark.parametrize("case", GOLDEN)
def test_payloads_are_valid(case: str, routes: str) -> None:
    """Every payload is what the schemas of its route allow, old routes and new."""
    for post in posts(encode(exporter(routes=routes), GOLDEN[case]())):
        validate(post)


@pytest.mark.parametrize("case", MAPPING)
def test_shared_samples(case: str) -> None:
    """
    Each agreed sample is met, but for the differences in the table.

    The samples' session is one that the application named by a UUID and that has been started.
    """
    made, server = exporter(), fakes.HoneyHive()
    deliver(made, [run(thread_id=SESSION)], server.answer)
    runs = [replace(each, thread_id=SESSION) for each in MAPPING[case]()]
    requests, wanted = posts(encode(made, runs)), sample(case, "honeyhive")

    assert [post["url"] for post in requests] == [post["url"] for post in wanted]
    for ours, theirs in zip(requests, wanted, strict=True):
        for event in ours["body"]["events"]:
            extra = {name: event["metadata"].pop(name) for name in DIFFERS.get(case, {})}
            assert all(extra.values())
        assert ours["body"] == theirs["body"]


def test_is_an_exporter() -> None:
    """It has all that the transport asks of a destination behind HTTP."""
    assert isinstance(exporter(), HttpExporter)


def test_from_env() -> None:
    """Key, origin, project and source come from the environment; only the key is needed."""
    env = {"HH_API_KEY": "k", "HH_API_URL": "http://host/", "HH_PROJECT": "p", "HH_SOURCE": "dev"}
    batch = encode(honeyhive.from_env(env), [run()]).requests[-1]
    with pytest.raises(ConfigError, match="set HH_API_KEY"):
        honeyhive.from_env({})

    assert batch.url == "http://host/events/batch"
    assert batch.headers == {"Authorization": "Bearer k", "Content-Encoding": "identity"}
    [event] = orjson.loads(batch.body)["events"]
    assert (event["project"], event["source"]) == ("p", "dev")


def test_wrong_routes() -> None:
    """A wrong word for the routes is refused with the right ones."""
    with pytest.raises(ConfigError, match="'legacy' or 'v1'"):
        exporter(routes="v2")


def test_what_is_wanted() -> None:
    """Ended runs of every kind, and feedback."""
    wanted = [*agent(), Feedback(run_id=LLM, at=T0)]
    unwanted = [run(duration=None), Trace(agent()), UserEvent(name="x", at=T0)]

    assert all(exporter().wants(item) for item in wanted)
    assert not any(exporter().wants(item) for item in unwanted)


def test_session_is_started_once() -> None:
    """The runs of a thread share a session, which is started by the first of them alone."""
    server, made = fakes.HoneyHive(), exporter()
    for _ in range(3):
        deliver(made, chain(), server.answer)

    [session] = server.starts
    assert server.starts[session] == 1
    assert server.sessions[session]["session_name"] == "thread-7"
    assert {event["session_id"] for event in server.events.values()} == {session}


def test_session_start_that_fails() -> None:
    """A session whose first events were refused is started with the next ones."""
    server, made = fakes.HoneyHive(key="other"), exporter()
    deliver(made, [run()], server.answer, tries=1)
    server.key = "key"
    deliver(made, [run()], server.answer, tries=1)

    assert list(server.starts.values()) == [1]


@pytest.mark.parametrize("routes", ["legacy", "v1"])
def test_single_session_only_where_there_is_one(routes: str) -> None:
    """A request with the flag holds events of one session; known sessions share one without it."""
    server, made = fakes.HoneyHive(), exporter(routes=routes)
    threads = [run(thread_id=name) for name in ("a", "b", "a")]
    first = posts(made.encode(threads, ()))
    deliver(made, threads, server.answer)
    second = posts(made.encode(threads, ()))
    for post in (*first, *second):
        validate(post)

    flags = [[name for name in post["body"] if name.endswith("single_session")] for post in first]
    assert [len(post["body"]["events"]) for post in first] == [2, 1]
    assert flags == [[honeyhive.SINGLE[made._routes]]] * 2
    assert [list(post["body"]) for post in second] == [["events"]]


def test_known_sessions_are_bounded() -> None:
    """The sessions that are known to be started are bounded; the oldest is started again."""
    server, made = fakes.HoneyHive(), exporter()
    runs = [run(thread_id=str(number)) for number in range(MAX_SESSIONS + 1)]
    deliver(made, runs, server.answer)
    deliver(made, runs[:1] + runs[-1:], server.answer)

    assert sorted(server.starts.values())[-2:] == [1, 2]


def test_sessions_by_trace() -> None:
    """Without a thread each trace has a session of its own, which is no run's id."""
    first, second = run(thread_id=None), run(thread_id=None, trace_id=CHAIN)

    assert session_of(first) != session_of(second)
    assert LLM not in {session_of(first), session_of(second)}
    assert uuid.UUID(session_of(first))


@pytest.mark.parametrize(
    ("bound", "session"),
    [
        ({"thread_id": SESSION.upper()}, SESSION),
        ({"metadata": {"session_id": SESSION}}, SESSION),
        ({"metadata": {"session_id": 7}, "thread_id": SESSION}, SESSION),
    ],
)
def test_bound_session(bound: Mapping[str, Any], session: str) -> None:
    """A session or thread id that is a UUID is the session's id, in its one form."""
    assert session_of(run(**bound)) == session


def test_thread_that_is_no_uuid() -> None:
    """From another thread id one is derived, the same each time; the thread's own stays visible."""
    [event] = events([run()])

    assert event["session_id"] == session_of(run())
    assert event["metadata"]["thread_id"] == "thread-7"


def test_half_stored_batch() -> None:
    """After a 500 that names what it stored, only the rest is sent again."""
    server = fakes.HoneyHive(breaks_after=2)
    counts = deliver(exporter(), agent(), server.answer)

    assert counts == {"delivered": 4}
    assert set(server.posted.values()) == {1}
    assert len(server.posted) == 4


def test_event_that_is_never_stored() -> None:
    """An event that is missing again and again is given up, so that it holds up no others."""
    server = fakes.HoneyHive(refused={LLM})
    made = exporter()
    counts = deliver(made, chain(), server.answer, tries=10)

    assert counts == {"delivered": 2, "rejected": 1}
    assert set(server.posted.values()) == {1}


def test_server_that_stores_nothing() -> None:
    """When nothing of a batch is stored the server is at fault, and the lane waits for it."""
    server = fakes.HoneyHive(breaks_after=0)

    assert deliver(exporter(), agent(), server.answer, tries=1) == {"waiting": 4}
    assert deliver(exporter(), agent(), server.answer, tries=1) == {"delivered": 4}


def test_feedback_on_an_unknown_event() -> None:
    """A feedback on an event that the server does not have is counted, and stops nobody."""
    said = Feedback(run_id=LLM, at=T0, thumb="up")

    assert deliver(exporter(), [said], fakes.HoneyHive().answer) == {"unknown_run": 1}


@pytest.mark.parametrize("reply", [b"", b"[]", b'{"event_ids": null}', b'{"event_ids": ["other"]}'])
def test_500_that_says_nothing(reply: bytes) -> None:
    """After a 500 that names none of ours, the lane decides as for any other."""
    batch = encode(exporter(), [run()]).requests[-1]

    assert exporter().verdict(batch, Response(500, {}, reply)) is None
    assert exporter().verdict(batch, Response(200, {}, b"{}")) is None


@pytest.mark.parametrize("routes", ["legacy", "v1"])
def test_feedback_updates_its_event(routes: str) -> None:
    """A feedback reaches the event of its run, and a score is a metric as well."""
    server, made = fakes.HoneyHive(), exporter(routes=routes)
    said = Feedback(run_id=LLM, at=T0, thumb="up", score=0.5, comment="good", user_id="u-1")
    for post in posts(made.encode([said], ())):
        validate(post)

    assert deliver(made, [run(), said], server.answer) == {"delivered": 2}
    assert server.events[LLM]["metrics"] == {"score": 0.5}
    assert server.events[LLM]["feedback"] == {
        "thumb": "up",
        "score": 0.5,
        "comment": "good",
        "user_id": "u-1",
    }


def test_empty_feedback() -> None:
    """A feedback without its words (content may be withheld) is counted."""
    encoded = exporter().encode([Feedback(run_id=LLM, at=T0)], ())

    assert (encoded.requests, encoded.dropped) == ([], {"not_expressible": 1})


def test_every_item_is_in_one_request() -> None:
    """Every item is in one request, whichever sessions they are of."""
    items = [*agent(), *chain(), Feedback(run_id=LLM, at=T0, thumb="up")]

    assert same_items(exporter().encode(items, ()), items)


def test_v1_refuses_no_project() -> None:
    """The new routes take no project, and the same events otherwise."""
    old, new = events(agent()), events(agent(), routes="v1")

    assert [{**event, "project": "my-project"} for event in new] == old


def test_parents_come_first() -> None:
    """Events are in the order in which their runs began, a parent before a child of that moment."""
    llm, root = run(trace_id=CHAIN, parent_id=CHAIN), step("chain", "x", CHAIN, duration=3.0)

    assert [event["event_id"] for event in events([llm, root])] == [CHAIN, LLM]


def test_choices() -> None:
    """Of several choices the first is the output, and all of them are in it."""
    [event] = events(GOLDEN["choices"]())

    assert event["outputs"]["content"] == "Hello sir"
    assert [each["content"] for each in event["outputs"]["choices"]] == ["Hello sir", "Good day"]


def test_texts_in_place_of_messages() -> None:
    """A model that takes and gives bare text is shown as a conversation all the same."""
    [event] = events([run(input=snapshot("Hi"), output=snapshot("Yes"))])

    assert event["inputs"] == {"chat_history": [{"role": "user", "content": "Hi"}]}
    assert event["outputs"] == {"role": "assistant", "content": "Yes", "finish_reason": "stop"}


def test_values_in_place_of_objects() -> None:
    """Inputs and outputs must be objects, so a bare value gets a name."""
    [event] = events([step("chain", "x", CHAIN, input=snapshot([1]), output=snapshot(2))])

    assert (event["inputs"], event["outputs"]) == ({"input": [1]}, {"output": 2})


def test_embedding_is_a_model_event() -> None:
    """An embedding is a model's event, with its model."""
    item = step("embedding", "ada", CHAIN, input=snapshot("x"), params=snapshot({"dimensions": 8}))
    [event] = events([item])

    assert event["event_type"] == "model"
    assert event["config"] == {
        "model": "ada",
        "type": "embedding",
        "hyperparameters": {"dimensions": 8},
    }


def test_without_content() -> None:
    """Where content is withheld, the event says the rest."""
    [event] = events([run(input=None, output=None, params=None, answer=None, user_id=None)])

    assert (event["inputs"], event["outputs"]) == ({}, {})
    assert event["event_name"] == "gpt-4o"
    assert "user_properties" not in event


@pytest.mark.parametrize(
    ("reason", "text"),
    [("closed", "stream closed by the caller"), ("queue_full", "stream ended early: queue_full")],
)
def test_partial_answers_say_why(reason: str, text: str) -> None:
    """An answer that is not whole says why."""
    [event] = events([replace(partial(), partial=reason)])

    assert event["error"] == text
    assert event["metadata"]["incomplete"] is True


def test_times_are_whole_milliseconds() -> None:
    """Times are integers in ms, and the end is the start and the duration."""
    [event] = events([run(started_at=at(0.0004), duration=0.0026)])

    assert event["start_time"] == 1728480103682
    assert (event["end_time"] - event["start_time"], event["duration"]) == (3, 3)


def test_bound_values_go_along() -> None:
    """Tags, metadata and what is known of the user are in the event."""
    [event] = events(
        [run(tags=("a",), metadata={"release": "1"}, user_props={"plan": "pro"}, answer=Answer())]
    )

    assert event["metadata"]["tags"] == ["a"]
    assert event["metadata"]["release"] == "1"
    assert event["user_properties"] == {"plan": "pro", "user_id": "u-42"}
