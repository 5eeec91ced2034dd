"""LLMonitor / Lunary: what goes over the wire, in which order, and what its replies mean."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import re
import subprocess
import sys
import urllib.request
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource

from instrument.exporters._base import HttpExporter, Request, Response, Verdict
from instrument.exporters._llmonitor_events import scrub
from instrument.exporters.llmonitor import ENV, LLMonitor, from_env
from instrument.guard import notices
from instrument.run import (
    KINDS,
    Answer,
    Attempt,
    ConfigError,
    Error,
    Feedback,
    Item,
    Run,
    Snapshot,
    Usage,
    UserEvent,
)
from instrument.snapshot import snapshot
from tests.fakes import lunary
from tests.fakes.lunary import PRIVATE_KEY, PROJECT, Lunary

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "wire"
T0 = datetime(2024, 10, 9, 13, 21, 43, 682_000, tzinfo=timezone.utc)
ID = "33333333-3333-4333-8333-333333333333"
CHILD = "44444444-4444-4444-8444-444444444444"
MESSAGES = [{"role": "user", "content": "Hello"}]
REPORT = LLMonitor(PROJECT)
INGEST = LLMonitor(key=PRIVATE_KEY)


def make(run_id: str = ID, **changes: Any) -> Run:
    """Make a plain ended llm run that differs in *changes*."""
    plain: dict[str, Any] = {
        "id": run_id,
        "trace_id": ID,
        "parent_id": None,
        "kind": "llm",
        "name": "gpt-4o",
        "started_at": T0,
        "duration": 2.5,
        "input": snapshot(MESSAGES),
        "output": snapshot({"role": "assistant", "content": "Hello sir"}),
    }
    return Run(**plain | changes)


def opened(run: Run) -> Run:
    """Give a run as it is published when it begins."""
    return replace(run, duration=None, output=None, usage=None, answer=None, error=None)


# ---------------------------------------------------------------------------------- the schemas


def validator(folder: Path, name: str) -> jsonschema.Draft202012Validator:
    """Load a schema with the others of its folder, formats asserted."""
    found = [json.loads(path.read_text()) for path in folder.glob("lunary.*.json")]
    known = [(schema["$id"], Resource.from_contents(schema)) for schema in found]
    registry: Registry[Any] = Registry().with_resources(known)
    schema = next(each for each in found if each["$id"].endswith(name))
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, registry=registry, format_checker=checker)


OURS = {name: validator(ROOT / "tests" / "schemas", name) for name in ("report", "runs_ingest")}
THEIRS = (
    {name: validator(SHARED / "schemas", name) for name in OURS}
    if (SHARED / "schemas").is_dir()
    else {}
)


def agreed(body: Any) -> Any:
    """
    Take out the four fields that the agreed schemas do not have, and that we send all the same.

    An error's type, status and partial output, because the server keeps the error as it is sent;
    reasoning tokens, because the table of events has them.
    """
    body = copy.deepcopy(body)
    for event in body["events"]:
        for name in ("type", "status", "output"):
            event.get("error", {}).pop(name, None)
        event.get("tokensUsage", {}).pop("reasoning", None)
    return body


def encode(
    items: Sequence[Item], started: Container[str] = (), exporter: LLMonitor = REPORT
) -> Request:
    """Encode a batch, validate it against every schema there is, and check its order."""
    (request,) = exporter.encode(items, started).requests
    body = json.loads(request.body)
    name = "report" if request.url.endswith("/report") else "runs_ingest"
    OURS[name].validate(body)
    if THEIRS:
        THEIRS[name].validate(agreed(body))
    times = [event["timestamp"] for event in body["events"]]
    assert times == sorted(times)
    return request


def events(
    items: Sequence[Item], started: Container[str] = (), exporter: LLMonitor = REPORT
) -> list[dict[str, Any]]:
    """Encode a batch and give its events."""
    found: list[dict[str, Any]] = json.loads(encode(items, started, exporter).body)["events"]
    return found


def deliver(server: Lunary, request: Request, exporter: LLMonitor = REPORT) -> Verdict | None:
    """Hand a request to the server and read its reply."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    path = re.sub(r"^https?://[^/]+", "", request.url)
    sent = {"content-type": "application/json", **headers}
    status, _, body = server.answer(request.method, path, sent, request.body)
    return exporter.verdict(request, Response(status, {}, body))


# ------------------------------------------------------------------------------- golden events

FULL = make(
    parent_id=None,
    params=snapshot({"temperature": 0.2, "n": 1, "tools": [{"type": "function"}]}),
    usage=Usage(prompt=9, completion=3, total=12, cached=4, reasoning=2),
    answer=Answer(
        provider="openai",
        model="gpt-4o-2024-08-06",
        finish_reasons=("stop",),
        response_id="chatcmpl-1",
        request_id="req_1",
        system_fingerprint="fp_1",
        service_tier="default",
        stream=True,
        time_to_first_token=0.41,
        processing_ms=350.0,
        attempts=(Attempt(0.0, 429), Attempt(0.5, 200)),
    ),
    user_id="u-42",
    user_props={"plan": "pro"},
    thread_id="thread-7",
    tags=("prod",),
    metadata={"release": "1.2", "beta": True, "nested": {"lost": 1}, "nothing": None},
)


def test_whole_call() -> None:
    """A call with everything known becomes a start and an end with each fact in its place."""
    start, end = events([FULL])
    every = {
        "type": "llm",
        "app": PROJECT,
        "runId": ID,
        "userId": "u-42",
        "userProps": {"plan": "pro"},
    }
    bound = {"release": "1.2", "beta": True, "thread_id": "thread-7"}

    assert start == every | {
        "event": "start",
        "timestamp": "2024-10-09T13:21:43.682Z",
        "name": "gpt-4o",
        "input": MESSAGES,
        "extra": {"temperature": 0.2, "n": 1, "tools": [{"type": "function"}]},
        "tags": ["prod"],
        "metadata": bound,
    }
    assert end == every | {
        "event": "end",
        "timestamp": "2024-10-09T13:21:46.182Z",
        "output": {"role": "assistant", "content": "Hello sir"},
        "tokensUsage": {"prompt": 9, "completion": 3, "promptCached": 4, "reasoning": 2},
        "metadata": bound
        | {
            "model": "gpt-4o-2024-08-06",
            "finish_reason": "stop",
            "response_id": "chatcmpl-1",
            "request_id": "req_1",
            "provider": "openai",
            "system_fingerprint": "fp_1",
            "service_tier": "default",
            "stream": True,
            "time_to_first_token_ms": 410.0,
            "processing_ms": 350.0,
            "duration_ms": 2500.0,
            "attempts": 2,
        },
    }


def test_key_route() -> None:
    """With a key the events are the same but for `app`, and the key is in the header alone."""
    request = encode([FULL], exporter=INGEST)

    assert request.url == "https://api.lunary.ai/v1/runs/ingest"
    assert request.headers == {"Authorization": f"Bearer {PRIVATE_KEY}"}
    assert PRIVATE_KEY.encode() not in request.body
    assert events([FULL], (), INGEST) == [
        {name: value for name, value in event.items() if name != "app"} for event in events([FULL])
    ]


def test_open_run_is_a_start() -> None:
    """An open run is a start, and its end comes alone when the server has the start."""
    assert [event["event"] for event in events([opened(FULL)])] == ["start"]
    assert [event["event"] for event in events([FULL], {ID})] == ["end"]
    assert [event["event"] for event in events([opened(FULL), FULL])] == ["start", "end"]


def test_failed_call() -> None:
    """A failed run ends with an error event that says what it was, how far it got, and no more."""
    error = Error("Error code: 429", "RateLimitError", "Traceback ...", 429)
    failed = make(error=error, output=snapshot({"content": "Hel"}))
    _, event = events([failed])

    assert event == {
        "type": "llm",
        "event": "error",
        "app": PROJECT,
        "runId": ID,
        "timestamp": "2024-10-09T13:21:46.182Z",
        "error": {
            "message": "Error code: 429",
            "type": "RateLimitError",
            "stack": "Traceback ...",
            "status": 429,
            "output": {"content": "Hel"},
        },
    }


def test_long_output_of_a_failed_call() -> None:
    """Of a long answer that broke off, the error keeps the beginning."""
    failed = make(error=Error("lost", "APIError"), output=snapshot({"content": "word " * 9_000}))
    said = events([failed])[1]["error"]

    assert len(json.dumps(said)) < 3_000
    assert said["output"]["content"].startswith("word word")


def test_partial_answer() -> None:
    """A stream left early is an end with the text so far, its reason, and no invented tokens."""
    _, end = events([make(partial="closed", output=snapshot({"content": "Hel"}))])

    assert end["event"] == "end"
    assert end["output"] == {"content": "Hel"}
    assert end["metadata"] == {"duration_ms": 2500.0, "partial": True, "partial_reason": "closed"}
    assert "tokensUsage" not in end


def test_several_choices() -> None:
    """With several choices there is a list of messages, in their order."""
    _, end = events([make(output=snapshot([{"content": "a"}, {"content": "b"}]))])

    assert end["output"] == [{"content": "a"}, {"content": "b"}]


@pytest.mark.parametrize(
    ("reasons", "sent"),
    [
        ((), None),
        ((None,), None),
        (("length",), "length"),
        (("stop", "length"), ["stop", "length"]),
        (("stop", None), ["stop", "unknown"]),
    ],
)
def test_finish_reasons(reasons: tuple[str | None, ...], sent: Any) -> None:
    """One choice has one reason, if any; several have a list, in which each keeps its place."""
    _, end = events([make(answer=Answer(finish_reasons=reasons))])

    assert end["metadata"].get("finish_reason") == sent


@pytest.mark.parametrize(
    ("usage", "sent"),
    [
        (None, None),
        (Usage(), None),
        (Usage(prompt=9), {"prompt": 9}),
        (Usage(prompt=2**31, completion=0, cached=0), {"completion": 0, "promptCached": 0}),
        (Usage(prompt=-1, completion=2**31 - 1, reasoning=0), {"completion": 2**31 - 1}),
    ],
)
def test_tokens(usage: Usage | None, sent: Mapping[str, int] | None) -> None:
    """Only counts that the provider sent and 32 bits hold are sent: another loses the whole end."""
    assert events([make(usage=usage)])[1].get("tokensUsage") == sent


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: Any) -> None:
    """Every kind has the server's word for it."""
    (start,) = events([opened(make(kind=kind))])

    assert start["type"] == {"embedding": "embed"}.get(kind, kind)


def test_feedback() -> None:
    """Feedback names its run, and its user inside, so that the server keeps the user's properties."""
    said = Feedback(run_id=ID, at=T0, thumb="up", comment="nice", score=0.5, user_id="u-1")
    (event,) = events([said])

    assert event == {
        "type": "llm",
        "event": "feedback",
        "app": PROJECT,
        "runId": ID,
        "timestamp": "2024-10-09T13:21:43.682Z",
        "feedback": {"thumb": "up", "comment": "nice", "score": 0.5, "userId": "u-1"},
    }


def test_what_is_wanted() -> None:
    """Runs, open and ended, and feedback; a user's events have no place there."""
    wanted: list[Item] = [FULL, opened(FULL), Feedback(run_id=ID, at=T0)]

    assert all(REPORT.wants(item) for item in wanted)
    assert not REPORT.wants(UserEvent(name="Sign Up", at=T0))
    assert REPORT.encode([], ()).requests == ()
    assert isinstance(REPORT, HttpExporter)


def test_run_without_content() -> None:
    """A run whose content is kept back has neither input nor output, and is sent all the same."""
    start, end = events([make(input=None, output=None)])

    assert "input" not in start
    assert "output" not in end


def test_same_bytes() -> None:
    """The same items give the same bytes."""
    assert encode([FULL]).body == encode([FULL]).body


# ------------------------------------------------------------------------------------- the order


def test_parent_first_whatever_the_order() -> None:
    """A parent whose open record was lost and that ended last still comes before its child."""
    parent = make(ID, kind="chain")
    child = make(CHILD, parent_id=ID, duration=1.0)
    found = [(each["event"], each["runId"]) for each in events([child, parent])]

    assert found == [("start", ID), ("start", CHILD), ("end", CHILD), ("end", ID)]


def test_child_is_never_earlier_than_its_parent() -> None:
    """A child with an earlier clock begins with its parent, and ends no earlier than it begins."""
    parent = make(ID, kind="chain")
    child = make(CHILD, parent_id=ID, started_at=T0 - timedelta(seconds=5), duration=0.1)
    found = [each for each in events([child, parent]) if each["runId"] == CHILD]

    assert [each["timestamp"] for each in found] == ["2024-10-09T13:21:43.682Z"] * 2


def test_unknown_parent() -> None:
    """A parent that the server does not have is left out; one that it has stays."""
    child = make(CHILD, parent_id=ID)

    assert all("parentRunId" not in event for event in events([child]))
    assert all(event["parentRunId"] == ID for event in events([child], {ID}))


def test_circle() -> None:
    """Runs that stand under each other are sent, and nothing hangs."""
    circle = [make(ID, parent_id=CHILD), make(CHILD, parent_id=ID)]

    assert len(events(circle)) == 4


def test_deep_tree() -> None:
    """A chain of runs deeper than Python's stack is sent in order."""
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(3_000)]
    runs = [make(one, parent_id=above) for one, above in zip(ids, [None, *ids[:-1]], strict=True)]
    (request,) = REPORT.encode(runs[::-1], ()).requests
    found = [each["runId"] for each in json.loads(request.body)["events"]]

    assert found == ids + ids[::-1]


@st.composite
def stories(draw: st.DrawFn) -> list[Run]:
    """Runs of random trees in the order in which they begin and end, many in one millisecond."""
    clock, records, alive = 0.0, list[Run](), list[Run]()
    for number in range(draw(st.integers(1, 25))):
        clock += draw(st.sampled_from([0.0, 0.0002, 0.0011]))
        if alive and draw(st.booleans()):
            records.append(end(alive.pop(draw(st.integers(0, len(alive) - 1))), clock))
            continue
        parent = draw(st.sampled_from([None, *alive]))
        run = make(
            f"{number:08x}-0000-4000-8000-000000000000",
            parent_id=parent and parent.id,
            kind=draw(st.sampled_from(KINDS)),
            started_at=T0 + timedelta(seconds=clock),
            duration=None,
        )
        alive.append(run)
        records.append(run)
    return records + [end(run, clock) for run in alive]


def end(run: Run, clock: float) -> Run:
    """End a run *clock* seconds after the story began."""
    return replace(run, duration=clock - (run.started_at - T0).total_seconds())


def send(server: Lunary, records: Sequence[Run], cuts: Sequence[int]) -> int:
    """Send records in batches as a lane does; says how many were counted as delivered."""
    started: set[str] = set()
    delivered = 0
    edges = sorted({0, len(records), *(cut % len(records) for cut in cuts)})
    for low, high in pairwise(edges):
        verdict = deliver(server, encode(records[low:high], started))
        assert verdict is not None
        delivered += verdict.delivered
        started |= {run.id for run in records[low:high]}
    return delivered


@given(records=stories(), cuts=st.lists(st.integers(0, 50), max_size=6))
def test_nothing_waits_or_is_lost(records: list[Run], cuts: list[int]) -> None:
    """However trees grow and batches are cut, no event waits for another and no end is lost."""
    server = Lunary()
    delivered = send(server, records, cuts)

    assert (server.waits, server.lost, server.refused) == (0, [], [])
    assert delivered == len(records)
    assert {row.status for row in server.rows.values()} == {"success"}
    assert {row.id: row.parent_run_id for row in server.rows.values()} == {
        run.id: run.parent_id for run in records
    }


@given(records=stories(), cuts=st.lists(st.integers(0, 50), max_size=6), data=st.data())
def test_lost_records(records: list[Run], cuts: list[int], data: st.DataObject) -> None:
    """When open records are lost on the way, still nothing waits and every ended run is stored."""
    kept = [run for run in records if run.duration is not None or data.draw(st.booleans())]
    server = Lunary()
    delivered = send(server, kept, cuts)

    assert (server.waits, server.lost) == (0, [])
    assert delivered == len(kept)
    assert {row.status for row in server.rows.values()} == {"success"}


@given(records=stories(), cuts=st.lists(st.integers(0, 50), max_size=6))
def test_sent_twice(records: list[Run], cuts: list[int]) -> None:
    """A batch whose reply was lost is sent again: all of it counts as delivered, nothing doubles."""
    server = Lunary()
    send(server, records, cuts)
    rows = dict(server.rows)
    delivered = send(server, records, cuts)

    assert delivered == len(records)
    assert server.rows == rows
    assert server.waits == 0


# -------------------------------------------------------------------------------------- the text

NASTY = "a\\u0000b \\\\u0000 \\ud83d\\ude00 \\ud800 \\\\ud800 \\udc00\\ud800 end"


def test_scrub() -> None:
    """Escaped NULs and lone surrogates become U+FFFD; pairs and escaped backslashes stay."""
    cleaned = json.loads(scrub(f'"{NASTY}"'.encode()))

    assert cleaned == "a\ufffdb \\u0000 \U0001f600 \ufffd \\ud800 \ufffd\ufffd end"
    assert scrub(b'"plain"') == b'"plain"'


@given(st.text(st.characters(codec=None)), st.booleans())
def test_scrub_any_text(text: str, ascii_only: bool) -> None:
    """Whatever a text holds and however it is escaped, only what the server refuses changes."""
    try:
        written = json.dumps(text, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    cleaned = json.loads(scrub(written))
    harmful = re.compile("[\0\ud800-\udfff]")

    assert not harmful.search(cleaned)
    assert cleaned == harmful.sub("\ufffd", json.loads(written))


def test_nasty_text_everywhere() -> None:
    """NULs and lone surrogates in any field do not cost the event."""
    text = "x\0y\ud800z"
    run = make(
        name=text,
        input=Snapshot(f'["{NASTY}"]'.encode()),
        error=Error(text, text, text),
        output=Snapshot(f'["{NASTY}"]'.encode()),
        params=Snapshot(f'{{"{NASTY}": 1}}'.encode()),
        user_id=text,
        user_props={text: text},
        tags=(text,),
        metadata={text: text},
    )
    server = Lunary()
    verdict = deliver(server, encode([run, Feedback(run_id=ID, at=T0, comment=text)]))

    assert server.refused == []
    assert verdict == Verdict(2)


@pytest.mark.parametrize("value", [True, False])
def test_boolean_content(value: bool) -> None:
    """A bare boolean, which the server cannot store, is wrapped."""
    start, end = events([make(input=snapshot(value), output=snapshot(value))])

    assert start["input"] == end["output"] == {"value": value}


def test_long_texts_of_indexed_columns() -> None:
    """A name or comment that is too long for the server's index is cut between characters."""
    server = Lunary()
    run = make(name="é" * 3_000)
    request = encode([run, Feedback(run_id=ID, at=T0, comment="é" * 3_000)])

    assert deliver(server, request) == Verdict(2)
    assert server.refused == []
    assert server.rows[ID].name == "é" * 1_250


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("text", True),
        (7, True),
        (0.5, True),
        (False, True),
        (["a", 1], True),
        (None, False),
        ({"a": 1}, False),
        ([["a"]], False),
        ([None], False),
        (float("nan"), False),
        (float("inf"), False),
    ],
)
def test_metadata(value: Any, kept: bool) -> None:
    """Of metadata goes out what the server keeps: scalars, and lists of them."""
    (start,) = events([opened(make(metadata={"mine": value}))])

    assert start.get("metadata") == ({"mine": value} if kept else None)


def test_user_properties_need_a_user() -> None:
    """Properties without a user belong to nobody and stay here."""
    (start,) = events([opened(make(user_props={"plan": "pro"}))])

    assert "userProps" not in start


# ------------------------------------------------------------------------------------- the reply


@pytest.mark.parametrize("exporter", [REPORT, INGEST])
@pytest.mark.parametrize("reply", ["bare", "results", "empty"])
def test_shapes_of_replies(exporter: LLMonitor, reply: Any) -> None:
    """Each shape of reply that servers of any year give is read."""
    server = Lunary(reply=reply)

    assert deliver(server, encode([FULL], (), exporter), exporter) == Verdict(1)
    assert server.rows[ID].cached_prompt_tokens == 4


def results(*outcomes: tuple[str | None, str | None]) -> bytes:
    """Write a reply: (id, error) for each event."""
    return json.dumps(
        [
            {name: value for name, value in {"id": run_id, "error": error}.items() if value}
            | {"success": error is None}
            for run_id, error in outcomes
        ]
    ).encode()


EXISTS = "Run with this ID already exists in the database."
BAD_TEXT = "unsupported Unicode escape sequence"
BAD_NUMBER = 'invalid input syntax for type integer: "1.5"'


@pytest.mark.parametrize(
    ("body", "dropped"),
    [
        (results((ID, EXISTS), (ID, None)), {}),
        (results((ID, None), (ID, BAD_NUMBER)), {"bad_number": 1}),
        (results((ID, BAD_TEXT), (ID, None)), {"bad_text": 1}),
        (results((None, None), (None, BAD_TEXT)), {"bad_text": 1}),
        (results((ID, None), (ID, "something new")), {"refused": 1}),
        (results((CHILD, BAD_TEXT)), {}),
        (b'{"results": null}', {}),
        (b"ok", {}),
        (b'[1, null, "x"]', {}),
    ],
)
def test_verdict_of_a_run(body: bytes, dropped: Mapping[str, int]) -> None:
    """A run is delivered when its start and its end are stored, or were before."""
    request = encode([FULL])

    assert REPORT.verdict(request, Response(200, {}, body)) == Verdict(1 - len(dropped), dropped)


def test_a_web_page_is_no_verdict() -> None:
    """What an application's page or a proxy's answers with a 200 is left to the lane."""
    request = encode([FULL])

    assert REPORT.verdict(request, Response(200, {}, b" <!doctype html>")) is None


def test_verdict_of_a_batch() -> None:
    """One refused event costs its own item alone."""
    good, bad = make(ID), make(CHILD)
    said = Feedback(run_id=ID, at=T0 + timedelta(seconds=9))
    request = encode([opened(good), opened(bad), good, bad, said])
    reply = results(
        (ID, None), (CHILD, None), (ID, None), (CHILD, BAD_NUMBER), (ID, "index row size 2800")
    )

    assert REPORT.verdict(request, Response(200, {}, reply)) == Verdict(
        3, {"bad_number": 1, "too_large": 1}
    )


@pytest.mark.parametrize("status", [202, 400, 401, 402, 404, 413, 429, 500, 503])
def test_other_statuses(status: int) -> None:
    """What is no 200 is for the lane to decide."""
    assert REPORT.verdict(encode([FULL]), Response(status, {}, b"")) is None


# -------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://localhost:8080", "http://localhost:8080/api/v1/report"),
        ("http://localhost:8080/", "http://localhost:8080/api/v1/report"),
        (" https://a.example/lunary// ", "https://a.example/lunary/api/v1/report"),
        ("https://a.example/api/v1/report/", "https://a.example/api/v1/report"),
        ("https://a.example/api/report", "https://a.example/api/report"),
        ("https://a.example/v1/runs/ingest", "https://a.example/api/v1/report"),
    ],
)
def test_report_urls(given: str, url: str) -> None:
    """The report route is joined without a double or trailing slash, however the URL was given."""
    (request,) = LLMonitor(PROJECT, url=given).encode([FULL], ()).requests

    assert request.url == url


@pytest.mark.parametrize(
    "given",
    ["https://a.example", "https://a.example/v1/runs/ingest/", "https://a.example/api/v1/report"],
)
def test_ingest_urls(given: str) -> None:
    """So is the ingestion route."""
    (request,) = LLMonitor(key="k", url=given).encode([FULL], ()).requests

    assert request.url == "https://a.example/v1/runs/ingest"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8080",
        "ftp://a.example",
        "https://",
        " ",
        "https://user:secret@a.example",
        "https://a.example?x=1",
        "https://a.example:port",
        "http://[::1",
    ],
)
def test_bad_url(url: str) -> None:
    """A URL that cannot be right is said to be so at once, with the remedy and without its text."""
    with pytest.raises(ConfigError, match="set LLMONITOR_API_URL to") as caught:
        LLMonitor(PROJECT, url=url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "url", "bearer"),
    [
        ({"LLMONITOR_APP_ID": PROJECT}, "https://app.llmonitor.com/api/v1/report", None),
        ({"LUNARY_PUBLIC_KEY": "pub"}, "https://api.lunary.ai/v1/runs/ingest", "Bearer pub"),
        (
            {"LLMONITOR_APP_ID": PROJECT, "LUNARY_PUBLIC_KEY": "pub", "LUNARY_PRIVATE_KEY": "priv"},
            "https://api.lunary.ai/v1/runs/ingest",
            "Bearer priv",
        ),
        (
            {
                "LLMONITOR_APP_ID": PROJECT,
                "LLMONITOR_API_URL": "http://a",
                "LUNARY_API_URL": "http://b",
            },
            "http://a/api/v1/report",
            None,
        ),
        (
            {
                "LUNARY_PRIVATE_KEY": "k",
                "LLMONITOR_API_URL": "http://a",
                "LUNARY_API_URL": "http://b",
            },
            "http://b/v1/runs/ingest",
            "Bearer k",
        ),
        (
            {"LUNARY_PRIVATE_KEY": "k", "LLMONITOR_API_URL": "http://a"},
            "http://a/v1/runs/ingest",
            "Bearer k",
        ),
    ],
)
def test_environment(env: Mapping[str, str], url: str, bearer: str | None) -> None:
    """A private key comes before a public one and that before an app id, each with its own URL."""
    (request,) = from_env(env).encode([FULL], ()).requests

    assert (request.url, request.headers.get("Authorization")) == (url, bearer)
    assert set(env) & set(ENV)


@pytest.mark.parametrize("env", [{}, {"LLMONITOR_APP_ID": " "}, {"LUNARY_PUBLIC_KEY": "k\u00e9y"}])
def test_bad_environment(env: Mapping[str, str]) -> None:
    """No key, or one that cannot be sent, is an error with the remedy."""
    with pytest.raises(ConfigError, match=r"set LLMONITOR_APP_ID|copy LUNARY_PRIVATE_KEY"):
        from_env(env)


def test_app_id_that_is_no_uuid(caplog: pytest.LogCaptureFixture) -> None:
    """An app id that today's servers refuse is used as given, with one warning that names none."""
    notices.clear()
    with caplog.at_level(logging.WARNING, "instrument"):
        (request,) = LLMonitor("YOUR APP ID").encode([FULL], ()).requests

    assert json.loads(request.body)["events"][0]["app"] == "YOUR APP ID"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "YOUR APP ID" not in caplog.text


# ------------------------------------------------------------------------------ the agreed samples


def runs_of(sample: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Make the runs that an agreed sample tells of, as the transport would publish them."""
    first = {event["runId"]: event for event in reversed(sample)}
    return [run_of(first[event["runId"]], event) for event in sample if is_last(event, sample)]


def is_last(event: Mapping[str, Any], sample: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether it is the last event of its run."""
    return [each for each in sample if each["runId"] == event["runId"]][-1] is event


def run_of(start: Mapping[str, Any], last: Mapping[str, Any]) -> Run:
    """Make a run of its first and its last event, which may be one."""
    began, now = (
        datetime.fromisoformat(each["timestamp"][:-1] + "+00:00") for each in (start, last)
    )
    metadata, error, usage = last.get("metadata", {}), last.get("error"), last.get("tokensUsage")
    seconds = metadata.get("timeToFirstTokenMs", 0) / 1000
    return make(
        start["runId"],
        parent_id=start.get("parentRunId"),
        kind=start["type"],
        name=start.get("name", "gpt-4o"),
        started_at=began,
        duration=None if last["event"] == "start" else (now - began).total_seconds(),
        input=snapshot(start.get("input")),
        output=snapshot(last["output"]) if "output" in last else None,
        error=Error(error["message"], "RateLimitError", error["stack"]) if error else None,
        partial="closed" if "incomplete" in metadata else None,
        params=snapshot(start["extra"]) if "extra" in start else None,
        usage=Usage(**usage) if usage else None,
        answer=Answer(time_to_first_token=seconds) if seconds else None,
        user_id=start.get("userId"),
        tags=tuple(start.get("tags", ())),
    )


def as_agreed(event: dict[str, Any]) -> dict[str, Any]:
    """
    Take out of our event what it has over the agreed one.

    `userId` and `parentRunId` stand in every event, as the table of events says; `metadata` has
    more facts, in names that the server turns into the agreed ones; an error has its type.
    """
    (event,) = agreed({"events": [event]})["events"]
    if event["event"] in {"end", "error"}:
        event = {
            name: value for name, value in event.items() if name not in {"userId", "parentRunId"}
        }
        facts = event.pop("metadata", {})
        renamed = {
            "timeToFirstTokenMs": facts.get("time_to_first_token_ms"),
            "incomplete": facts.get("partial"),
        }
        kept = {name: value for name, value in renamed.items() if value is not None}
        return {**event, "metadata": kept} if kept else event
    return event


CASES: Mapping[str, Any] = (
    json.loads((SHARED / "mapping" / "cases.json").read_text()) if SHARED.is_dir() else {}
)


@pytest.mark.skipif(not CASES, reason="the agreed samples (../shared/wire) are not here")
@pytest.mark.parametrize("case", CASES)
def test_agreed_samples(case: str) -> None:
    """Each agreed sample comes out, but for the differences that `as_agreed` names."""
    for sample in CASES[case]["lunary"]:
        wanted = sample["body"]["events"]
        alone = wanted[0]["event"] == "end"
        request = encode(runs_of(wanted), {ID} if alone else ())

        assert request.url == sample["url"]
        app = {"app": wanted[0]["app"]}
        assert [as_agreed(event) | app for event in json.loads(request.body)["events"]] == wanted


# ----------------------------------------------------------------------- the server at the wire


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Any:
    """Post a compressed body and read the reply."""
    sent = {"Content-Type": "application/json", "Content-Encoding": "gzip", **headers}
    request = urllib.request.Request(url, gzip.compress(body), sent)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def test_over_the_wire() -> None:
    """What the exporter makes is stored by a server behind a socket."""
    server = Lunary()
    with lunary.serve(server) as origin:
        exporter = LLMonitor(PROJECT, url=origin)
        (request,) = exporter.encode([FULL], ()).requests
        reply = post(request.url, request.body, request.headers)

    assert exporter.verdict(request, Response(200, {}, json.dumps(reply).encode())) == Verdict(1)
    assert server.rows[ID].status == "success"
    assert server.rows[ID].metadata["timeToFirstTokenMs"] == 410.0
    assert server.users == {"u-42": {"plan": "pro"}}


def test_server_of_its_own() -> None:
    """The fake server runs as a process of its own and tells what it stored."""
    command = [sys.executable, lunary.__file__, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            origin = process.stdout.readline().strip()
            (request,) = LLMonitor(key=PRIVATE_KEY, url=origin).encode([FULL], ()).requests
            post(request.url, request.body, request.headers)
            with urllib.request.urlopen(f"{origin}/rows", timeout=10) as reply:
                told = json.load(reply)
        finally:
            process.terminate()

    assert [row["id"] for row in told["rows"]] == [ID]
    assert (told["waits"], told["lost"]) == (0, [])


START = {"type": "llm", "event": "start", "runId": ID, "timestamp": "2024-10-09T13:21:43.682Z"}
AS_JSON = {"content-type": "application/json"}
WITH_KEY = {**AS_JSON, "authorization": f"Bearer {PRIVATE_KEY}"}


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/api/v1/report", AS_JSON, {"events": [{**START, "app": PROJECT}]}, 200),
        ("/api/report?x=1", AS_JSON, {"events": [{**START, "app": PROJECT.upper()}]}, 200),
        ("/api/report/", AS_JSON, {"events": [{**START, "app": PROJECT}]}, 404),
        ("/api/report", {}, {"events": [{**START, "app": PROJECT}]}, 400),
        ("/api/report", AS_JSON, {"events": []}, 400),
        ("/api/report", AS_JSON, {"events": [START]}, 402),
        ("/api/report", AS_JSON, {"events": [{**START, "app": "YOUR APP ID"}]}, 402),
        ("/api/report", AS_JSON, {"events": [{**START, "app": ID}]}, 401),
        ("/v1/runs/ingest", AS_JSON, {"events": [START]}, 402),
        ("/v1/runs/ingest", WITH_KEY, {"events": START}, 200),
        ("/v1/runs/ingest", WITH_KEY, {"events": []}, 200),
        ("/v1/runs/ingest", WITH_KEY, {}, 500),
        ("/v1/runs/ingest", WITH_KEY, {"events": [START, None]}, 500),
        ("/v1/runs/ingest", {**AS_JSON, "authorization": "Bearer x"}, {"events": []}, 401),
        ("/v1/runs/ingest", {**AS_JSON, "authorization": f"Bearer {ID}"}, {"events": []}, 401),
        ("/v1/runs/ingest", {**AS_JSON, "x-api-key": PROJECT}, {"events": []}, 200),
    ],
)
def test_server_refuses(path: str, headers: Mapping[str, str], body: Any, status: int) -> None:
    """The fake server refuses whole requests as the real one was measured to."""
    assert Lunary().answer("POST", path, headers, json.dumps(body).encode())[0] == status


def test_server_is_busy() -> None:
    """The fake server has limits of rate and size, and fails when it is told to."""
    server = Lunary(requests_per_minute=2, max_body_bytes=100)
    server.fail(503)
    tries = [
        server.answer("POST", "/v1/runs/ingest", WITH_KEY, body)[0]
        for body in (b"{}", b" " * 101, b'{"events": []}', b'{"events": []}', b'{"events": []}')
    ]

    assert tries == [503, 413, 200, 200, 429]


@pytest.mark.parametrize(
    ("sent", "waits", "lost", "refused"),
    [
        ([{"event": "start"}, {"event": "start"}], 0, 0, 1),
        ([{"event": "start"}, {"event": "end"}], 0, 0, 0),
        ([{"event": "end"}, {"event": "start"}], 1, 1, 0),
        ([{"event": "end", "type": "tool"}], 0, 1, 0),
        ([{"event": "start", "parentRunId": CHILD}], 1, 0, 0),
        ([{"event": "start", "parentRunId": CHILD}, {"event": "start", "runId": CHILD}], 1, 0, 0),
        ([{"event": "start", "input": "a\0"}], 0, 0, 1),
        ([{"event": "start", "input": True}], 0, 0, 1),
        ([{"event": "start", "type": None}], 0, 0, 1),
        ([{"event": "start"}, {"event": "end", "tokensUsage": {"prompt": 1.5}}], 0, 0, 1),
        ([{"event": "begin"}], 0, 1, 0),
    ],
)
def test_server_loses(sent: list[Any], waits: int, lost: int, refused: int) -> None:
    """The fake server waits, forgets and refuses single events as the real one was measured to."""
    server = Lunary()
    body = json.dumps({"events": [{**START, **event} for event in sent]}).encode()
    status, _, _ = server.answer("POST", "/v1/runs/ingest", WITH_KEY, body)

    assert status == 200
    assert (server.waits, len(server.lost), len(server.refused)) == (waits, lost, refused)
