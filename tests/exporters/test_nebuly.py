"""Nebuly: one interaction for each tree that ended well, and feedback matched by its texts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from instrument.exporters import nebuly
from instrument.exporters._base import HttpExporter, Response
from instrument.exporters.nebuly import MAX_REMEMBERED, MAX_REMEMBERED_CHARS, Memory, Nebuly, Turn
from instrument.guard import notices
from instrument.run import ConfigError, Error, Feedback, Run, Trace, Usage, UserEvent
from instrument.snapshot import snapshot
from tests.exporters.cases import (
    CHAIN,
    GOLDEN,
    LLM,
    MAPPING,
    T0,
    agent,
    at,
    chain,
    error,
    run,
    said,
    step,
    tools,
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
from tests.fakes import nebuly as fakes

SCHEMAS = {
    nebuly.INTERACTIONS: "nebuly.v2.interactions",
    nebuly.TRACE_INTERACTION: "nebuly.v2.trace_interaction",
    nebuly.FEEDBACK: "nebuly.v1.feedback",
}


def exporter(**options: Any) -> Nebuly:
    """Make the exporter with a key."""
    return Nebuly("key", **options)


def interaction(runs: list[Run], **options: Any) -> dict[str, Any]:
    """Encode one tree, and give the body of its one request."""
    [post] = posts(encode(exporter(**options), runs))
    body: dict[str, Any] = post["body"]
    return body


def validate(post: dict[str, Any]) -> None:
    """Validate a request against the schemas of its route."""
    name = SCHEMAS[post["url"].removeprefix(nebuly.ORIGIN)]
    for schema in validators("nebuly")[name]:
        schema.validate(post["body"])


@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case: str) -> None:
    """Each case becomes the requests in its golden file."""
    assert picture(exporter(), case) == golden("nebuly", case)


@pytest.mark.parametrize("case", GOLDEN)
def test_payloads_are_valid(case: str) -> None:
    """Every payload is what the route's schemas allow."""
    for post in posts(encode(exporter(), GOLDEN[case]())):
        validate(post)


@pytest.mark.parametrize("case", MAPPING)
def test_shared_samples(case: str) -> None:
    """Each agreed sample is met exactly; its tag is a setting of the exporter."""
    made = posts(encode(exporter(tags={"env": "prod"}), MAPPING[case]()))
    wanted = [
        {name: each[name] for name in ("method", "url", "body")} for each in sample(case, "nebuly")
    ]

    assert made == wanted


def test_is_an_exporter() -> None:
    """It has all that the transport asks of a destination behind HTTP."""
    assert isinstance(exporter(), HttpExporter)


def test_from_env() -> None:
    """The key is needed, and the endpoint is an origin."""
    env = {"NEBULY_API_KEY": "k", "NEBULY_ENDPOINT_URL": "http://host/"}
    made = nebuly.from_env(env)
    with pytest.raises(ConfigError, match="set NEBULY_API_KEY"):
        nebuly.from_env({})

    request = encode(made, [run()]).requests[0]
    assert request.url == "http://host" + nebuly.INTERACTIONS
    assert request.headers == {"Authorization": "Bearer k", "Content-Encoding": "identity"}


def test_what_is_wanted() -> None:
    """Trees in which somebody was answered, and feedback; a tool by itself is no interaction."""
    asking, tool = tools()
    wanted = [Trace([asking]), Trace(chain()), Feedback(run_id=LLM, at=T0)]
    unwanted = [Trace([tool]), asking, UserEvent(name="x", at=T0)]

    assert [exporter().wants(item) for item in [*wanted, *unwanted]] == [True] * 3 + [False] * 3


def test_failed_tree_is_not_expressible() -> None:
    """A tree whose root failed is counted; the contract has no place for it."""
    assert encode(exporter(), [error()]).dropped == {"not_expressible": 1}


def test_no_user_is_counted_and_said() -> None:
    """A tree of nobody's is dropped as `no_user`, with the remedy in one warning."""
    encoded = encode(exporter(), [run(user_id=None)])

    assert (encoded.requests, encoded.dropped) == ([], {"no_user": 1})
    assert notices.counts["no user for nebuly"] >= 1


def test_user_and_conversation_of_a_step() -> None:
    """What only a step knows, because its request says it, counts for the tree."""
    retriever, llm, root = chain(user_id=None, thread_id=None)
    told = interaction([retriever, replace(llm, user_id="u-1", thread_id="t-1"), root])

    assert told["interaction"]["end_user"] == "u-1"
    assert told["interaction"]["conversation_id"] == "t-1"


def test_chain_without_a_conversation() -> None:
    """Without a conversation the plain route is used, which names the retrievers."""
    told = interaction(chain(thread_id=None))["interaction"]

    assert told["rag_sources"] == ["VectorStoreRetriever"]
    assert told["messages"] == [{"role": "user", "content": "Hello"}]
    assert told["model"] == "gpt-4o"


def test_scope_without_input_or_output() -> None:
    """A block of the application's own takes question and answer from its model calls."""
    *steps, root = agent()
    told = interaction([*steps, replace(root, input=None, output=None)])["interaction"]

    assert (told["input"], told["output"]) == ("Hello", "It is 18C in Paris.")


def test_scope_without_anything_to_say() -> None:
    """A tree in which nothing was asked or answered is counted."""
    empty = step("chain", "work", CHAIN, trace_id=CHAIN, input=None)

    assert encode(exporter(), [empty]).dropped == {"not_expressible": 1}


def test_failed_steps_are_left_out() -> None:
    """A step that failed has no output to show, so the traces go without it."""
    retriever, llm, root = chain()
    told = interaction([replace(retriever, error=Error("no index", "KeyError")), llm, root])

    assert [trace.get("model") for trace in told["traces"]] == ["gpt-4o"]


def test_embeddings_are_traces() -> None:
    """An embedding is a trace of model and input."""
    _, llm, root = chain()
    embedded = step(
        "embedding",
        "text-embedding-3-small",
        "66666666-6666-4666-8666-666666666666",
        trace_id=CHAIN,
        parent_id=CHAIN,
        started_at=at(-0.5),
        input=snapshot(["one", "two"]),
        usage=Usage(prompt=4),
    )
    told = interaction([embedded, llm, root])

    assert told["traces"][0] == {
        "model": "text-embedding-3-small",
        "input": "one\ntwo",
        "input_tokens": 4,
    }


def test_tags_and_flags() -> None:
    """Tags and plain metadata become pairs of texts; flags go where flags belong."""
    told = interaction(
        [
            run(
                tags=("beta", "team:red", "tier=gold"),
                metadata={"seats": 3, "paid": True, "feature_flags": ["new-ui", 1], "deep": {}},
            )
        ],
        tags={"env": "prod", "team": "blue"},
    )["interaction"]

    assert told["feature_flag"] == ["new-ui"]
    assert told["tags"] == {
        "env": "prod",
        "team": "red",
        "seats": "3",
        "paid": "true",
        "beta": "true",
        "tier": "gold",
    }


def test_empty_flags_are_absent() -> None:
    """Flags that are none of Nebuly's texts are not sent."""
    assert "feature_flag" not in interaction([run(metadata={"feature_flags": [1]})])["interaction"]


@pytest.mark.parametrize("anonymize", [True, False])
def test_anonymize_is_always_said(anonymize: bool) -> None:
    """Whether to anonymize is always in the request, because clients and docs differ."""
    assert interaction([run()], anonymize=anonymize)["anonymize"] is anonymize


def test_anonymize_by_default() -> None:
    """Unless told otherwise, the server is to anonymize."""
    assert interaction([run()])["anonymize"] is True


def test_feedback_finds_its_interaction() -> None:
    """A feedback on any run of a tree reaches the interaction that was sent for it."""
    server = fakes.Nebuly()
    later = T0 + timedelta(minutes=1)
    items = [
        Trace(chain()),
        Feedback(run_id=LLM, at=later, thumb="up", comment="good"),
        Feedback(run_id=CHAIN, at=later, score=4),
        Feedback(run_id=CHAIN, at=later, comment="nice"),
    ]
    made = exporter()
    for post in posts(made.encode(items, ())):
        validate(post)

    assert deliver(made, items, server.answer) == {"delivered": 4}
    assert [action for action, _ in server.actions] == [
        {"slug": "thumbs_up", "text": "good"},
        {"slug": "rating", "value": 4},
        {"slug": "comment", "text": "nice"},
    ]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Feedback(run_id=LLM, at=T0, thumb="down"), "unknown_run"),
        (Feedback(run_id=LLM, at=T0, score=0.5), "not_expressible"),
    ],
)
def test_feedback_that_cannot_be_sent(item: Feedback, reason: str) -> None:
    """A feedback on a run that was never sent, or a score on another scale, is counted."""
    encoded = exporter().encode([item], ())

    assert (encoded.requests, encoded.dropped) == ([], {reason: 1})


def test_every_item_is_in_one_request() -> None:
    """Each tree and feedback has a request of its own, or is counted."""
    items = [Trace([run()]), Trace(chain()), Trace([error()]), Feedback(run_id=LLM, at=T0, score=5)]

    assert same_items(exporter().encode(items, ()), items)


def test_memory_forgets_the_oldest() -> None:
    """What is kept for a feedback is bounded by number and by characters."""
    many, large = Memory(), Memory()
    for number in range(MAX_REMEMBERED + 1):
        many.keep(Turn("u", "q", "a"), [f"step-{number}", f"root-{number}"])
    for number in range(3):
        large.keep(Turn("u", "q" * (MAX_REMEMBERED_CHARS // 2), ""), [f"root-{number}"])

    assert many.turn("step-0") is None
    assert many.turn("step-1") is not None
    assert [large.turn(f"root-{number}") is None for number in range(3)] == [True, False, False]


def test_memory_keeps_a_turn_once() -> None:
    """The same tree, sent again, replaces what was kept of it."""
    memory = Memory()
    for answer in ("first", "second"):
        memory.keep(Turn("u", "q", answer), ["root"])

    assert memory.turn("root") == Turn("u", "q", "second")


def test_unknown_counts_are_absent() -> None:
    """Tokens that the provider did not send are not there, least of all as zero."""
    retriever, llm, root = chain()
    told = interaction([retriever, replace(llm, usage=None), root])

    assert not {"input_tokens", "output_tokens"} & set(told["traces"][1])


def test_question_of_a_text_model() -> None:
    """An input that is a bare text is the question, and the one message."""
    told = interaction([run(input=snapshot("Hi"), output=said("Yes"))])["interaction"]

    assert told["messages"] == [{"role": "user", "content": "Hi"}]


def test_feedback_that_the_server_cannot_match() -> None:
    """A feedback that matches nothing at the server is counted, and stops nobody."""
    made, server = exporter(), fakes.Nebuly()
    made.encode([Trace([run()])], ())

    assert deliver(made, [Feedback(run_id=LLM, at=T0, score=5)], server.answer) == {
        "unknown_run": 1
    }


def test_verdict_is_the_lanes() -> None:
    """A reply says no more than its status."""
    request = encode(exporter(), [run()]).requests[0]

    assert exporter().verdict(request, Response(200, {}, b"")) is None
