"""Trubrics: runs as LLM events, failures and feedback as plain events, nothing without a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from instrument.exporters import trubrics
from instrument.exporters._base import HttpExporter, Response
from instrument.exporters.trubrics import Trubrics
from instrument.guard import notices
from instrument.run import ConfigError, Exchange, Feedback, Trace, UserEvent
from tests.exporters.cases import CHAIN, GOLDEN, LLM, MAPPING, T0, agent, error, partial, run, tools
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
from tests.fakes import trubrics as fakes

DIFFERS: Mapping[str, Mapping[str, str]] = {
    "6b streaming abandoned or broken half-way": {
        "stream": "the run was a stream, as in case 6; HoneyHive's payload of this case says so too",
    },
}
"""Keys of `properties` in which we differ from a shared sample, and why."""


def exporter(**options: Any) -> Trubrics:
    """Make the exporter with a key."""
    return Trubrics("key", **{"cost": None, **options})


@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case: str) -> None:
    """Each case becomes the requests in its golden file."""
    assert picture(exporter(), case) == golden("trubrics", case)


@pytest.mark.parametrize("case", GOLDEN)
def test_payloads_are_valid(case: str) -> None:
    """Every payload is what the route's schemas allow."""
    schemas = validators("trubrics")
    for post in posts(encode(exporter(), GOLDEN[case]())):
        for schema in schemas["trubrics." + post["url"].rpartition("/")[2]]:
            schema.validate(post["body"])


@pytest.mark.parametrize("case", MAPPING)
def test_shared_samples(case: str) -> None:
    """Each agreed sample is met, but for the differences in the table."""
    wanted = sample(case, "trubrics")
    made = posts(encode(exporter(), MAPPING[case]()))

    assert [post["url"] for post in made] == [post["url"] for post in wanted]
    for ours, theirs in zip(made, wanted, strict=True):
        for event, agreed in zip(ours["body"], theirs["body"], strict=True):
            extra = {name: event["properties"].pop(name) for name in DIFFERS.get(case, {})}
            assert all(extra.values())
            assert event == agreed


def test_is_an_exporter() -> None:
    """It has all that the transport asks of a destination behind HTTP."""
    assert isinstance(exporter(), HttpExporter)


def test_from_env() -> None:
    """The key is needed, and the host is the whole prefix."""
    made = trubrics.from_env({"TRUBRICS_API_KEY": "k", "TRUBRICS_HOST": "http://host/api/"})
    with pytest.raises(ConfigError, match="TRUBRICS_API_KEY"):
        trubrics.from_env({})

    request = encode(made, [run()]).requests[0]
    assert request.url == "http://host/api/publish_llm_events"
    assert request.headers == {"x-api-key": "k", "Content-Encoding": "identity"}


def test_wrong_choice_of_runs() -> None:
    """A wrong word for the runs is refused with the right ones."""
    with pytest.raises(ConfigError, match="'all' or 'answers'"):
        exporter(runs="some")


def test_answers_only() -> None:
    """With runs="answers" only the last llm run of a tree is sent, and it is not a call of tools."""
    encoded = encode(exporter(runs="answers"), agent())

    [post] = posts(encoded)
    assert [event["generation"] for event in post["body"]] == ["It is 18C in Paris."]


def test_answers_without_an_answer() -> None:
    """A tree whose only model call asks for a tool is counted, not sent."""
    encoded = encode(exporter(runs="answers"), tools()[:1])

    assert (encoded.requests, encoded.dropped) == ([], {"not_expressible": 1})


def test_open_runs_and_chains_are_not_wanted() -> None:
    """Only ended model calls are of use."""
    chains = [each for each in agent() if each.kind != "llm"]

    assert not any(exporter().wants(each) for each in [*chains, run(duration=None)])
    assert not exporter(runs="answers").wants(run())
    assert not exporter(runs="answers").wants(Trace(chains))


def test_no_user_is_counted_and_said() -> None:
    """A run without a user is dropped as `no_user`, with the remedy in one warning."""
    encoded = encode(exporter(), [run(user_id=None), run(user_id="")])

    assert (encoded.requests, encoded.dropped) == ([], {"no_user": 2})
    assert notices.counts["no user for trubrics"] >= 2


def test_two_routes_of_one_batch() -> None:
    """One batch becomes at most two requests, none of them empty, and every item is in one."""
    items = [
        run(),
        error(),
        UserEvent(name="Sign Up", at=T0, user_id="u-42", thread_id="t", properties={"a": 1}),
        Feedback(run_id=LLM, at=T0, thumb="up", score=0.5, comment="good", user_id="u-42"),
        Feedback(run_id=LLM, at=T0, thumb="down"),
    ]
    encoded = exporter().encode(items, ())

    assert [post["url"].rpartition("/")[2] for post in posts(encoded)] == [
        "publish_llm_events",
        "publish_events",
    ]
    assert same_items(encoded, items)
    assert all(orjson.loads(request.body) for request in encoded.requests)


def test_feedback_is_a_plain_event() -> None:
    """A feedback names its run; what was not said is absent."""
    item = Feedback(run_id=LLM, at=T0, thumb="up", comment="good", user_id="u-42")
    [post] = posts(exporter().encode([item], ()))

    assert post["body"] == [
        {
            "user_id": "u-42",
            "event": "Feedback",
            "timestamp": "2024-10-09T13:21:43.682Z",
            "properties": {"$text": "good", "thumb": "up", "run_id": LLM},
        }
    ]


def test_feedback_of_the_runs_user() -> None:
    """A feedback that names nobody is of the user of its run, or of its trace."""
    made = exporter()
    items = [Feedback(run_id=run_id, at=T0, thumb="up") for run_id in (LLM, CHAIN, "unknown")]
    encoded = made.encode([each for each in [*agent(), *items] if made.wants(each)], ())

    assert encoded.dropped == {"no_user": 1}
    assert [event["user_id"] for event in posts(encoded)[-1]["body"]] == ["u-42", "u-42"]


def test_users_are_forgotten_in_time() -> None:
    """How many runs have their user remembered is bounded; the oldest are forgotten."""
    made = exporter()
    made.encode([run(id=str(n), trace_id=str(n)) for n in range(trubrics.MAX_USERS + 1)], ())
    asked = [Feedback(run_id=str(n), at=T0, thumb="up") for n in (0, trubrics.MAX_USERS)]

    assert made.encode(asked, ()).dropped == {"no_user": 1}


def test_user_event_keeps_its_properties() -> None:
    """What a user did goes out as it is; no properties are null, as the vendor's client has it."""
    event = UserEvent(name="Sign Up", at=T0, user_id="u-42")
    shown = [
        posts(exporter().encode([each], ()))[0]["body"][0]["properties"]
        for each in (event, replace(event, thread_id="t-1", properties={"country": "USA"}))
    ]

    assert shown == [None, {"country": "USA", "$thread_id": "t-1"}]


def test_exchange_has_the_vendors_ten_keys() -> None:
    """A prompt and answer told by hand has the vendor client's keys, absent ones as null."""
    item = Exchange(user_id="u", prompt="p", answer="a", at=T0)
    [event] = posts(exporter().encode([item], ()))[0]["body"]

    assert event == {
        "user_id": "u",
        "prompt": "p",
        "generation": "a",
        "prompt_event_name": "Prompt",
        "generation_event_name": "Generation",
        "assistant_id": None,
        "properties": None,
        "timestamp": "2024-10-09T13:21:43.682Z",
        "latency": None,
        "thread_id": None,
    }


def test_never_more_than_a_hundred() -> None:
    """Requests hold at most 100 events, whatever they are given."""
    encoded = exporter().encode([run()] * 250, ())

    assert [len(request.items) for request in encoded.requests] == [100, 100, 50]


def test_bound_assistant_tags_and_metadata() -> None:
    """The application's own assistant id counts; tags and metadata are properties."""
    item = run(tags=("a",), metadata={"assistant_id": "support", "model": "ours", "plan": "pro"})
    [event] = posts(encode(exporter(), [item]))[0]["body"]

    assert event["assistant_id"] == "support"
    assert event["properties"]["tags"] == ["a"]
    assert event["properties"]["plan"] == "pro"
    assert event["properties"]["model"] == "gpt-4o-2024-08-06"
    assert "assistant_id" not in event["properties"]


def test_unknown_counts_are_absent() -> None:
    """Tokens that the provider did not send are not there, least of all as zero."""
    [event] = posts(encode(exporter(), [partial()]))[0]["body"]

    assert not any(name.endswith("_tokens") for name in event["properties"])


def test_same_items_same_bytes() -> None:
    """Encoding is pure."""
    first, second = (encode(exporter(), agent()).requests for _ in range(2))

    assert [request.body for request in first] == [request.body for request in second]


def test_verdict_is_the_lanes() -> None:
    """The server says nothing about single events, so the status decides."""
    request = encode(exporter(), [run()]).requests[0]

    assert exporter().verdict(request, Response(200, {}, b"{}")) is None


def test_a_server_that_stumbles() -> None:
    """What a busy server refused is sent again, once, to the route that it was for."""
    server = fakes.Trubrics(failures=[503])
    counts = deliver(exporter(), [run(), error()], server.answer)

    assert counts == {"delivered": 2}
    assert [len(server.events(route)) for route in fakes.ROUTES] == [1, 1]


def test_key_that_no_header_can_hold() -> None:
    """A key with a line break or the like is refused before the first request."""
    with pytest.raises(ConfigError, match="copy TRUBRICS_API_KEY again"):
        Trubrics("a\nb")


@pytest.mark.parametrize(
    "host", ["", "host", "ftp://host", "http://u:p@host", "http://host?x", "http://[x"]
)
def test_bad_host(host: str) -> None:
    """A host that is no plain URL is refused with an example of one."""
    with pytest.raises(ConfigError, match="set TRUBRICS_HOST to a URL"):
        Trubrics("key", host)
