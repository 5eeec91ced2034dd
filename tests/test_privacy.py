"""Content that must not leave does not, whatever the hook does."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import orjson
import pytest

from instrument.guard import guard, notices
from instrument.privacy import filter_for
from instrument.run import Answer, Error, Exchange, Feedback, Run, Snapshot, Usage, UserEvent
from instrument.secrets import mask_text
from instrument.snapshot import snapshot

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
RUN = Run(
    id="r",
    trace_id="r",
    parent_id=None,
    kind="llm",
    name="gpt-4o",
    started_at=NOW,
    duration=1.0,
    input=Snapshot(b'[{"role":"user","content":"SECRET"}]'),
    output=Snapshot(b'{"content":"SECRET"}'),
    error=Error("SECRET", "ValueError", "SECRET", 400),
    usage=Usage(prompt=9),
    params=Snapshot(b'{"temperature":1,"tools":[{"d":"SECRET"}],"user":"SECRET"}'),
    answer=Answer(model="gpt-4o-2024", logprobs=Snapshot(b'["SECRET"]')),
    metadata={"k": "SECRET"},
)


def texts(item: Any) -> str:
    """Give all that an item says."""
    return repr(item)


def test_unchanged() -> None:
    """Without settings and without secrets an item passes as it is."""
    assert filter_for(scan_secrets=False)(RUN) is RUN
    assert filter_for()(RUN) == RUN


SECRETS = [
    "sk-proj-" + "aB3_" * 12,
    "sk-" + "a1B2" * 12,
    "sk-ant-api03-" + "aB3-" * 12,
    "AKIA" + "ABCD1234" * 2,
    "AIza" + "a1_-x" * 7,
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1_B2" * 12,
    "glpat-" + "a1B2-" * 5,
    "xoxb-123456789012-abcdef",
    "hf_" + "aBcD" * 9,
    "gsk_" + "aBc1" * 13,
    "xai-" + "aBc1" * 20,
    "pplx-" + "aBc1" * 12,
    "nvapi-" + "aB_1" * 16,
    "r8_" + "aBc1" * 9 + "a",
    "lsv2_pt_" + "a1b2" * 8 + "_" + "a1b2c3d4e5",
    "SG." + "aB3-" * 5 + "xY." + "aB3_" * 10 + "xYz",
    "sk_live_" + "aBc1" * 6,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF123_-x",
    "Bearer " + "aBc1" * 6 + ".x/y",
    "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIB" * 8 + "\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS, ids=[secret[:12] for secret in SECRETS])
def test_secrets_masked_everywhere(secret: str) -> None:
    """What looks like a key is masked in every piece of content, and the JSON stays JSON."""
    text = f"use {secret}, please"
    said = snapshot([{"role": "user", "content": text, "deep": {"k": [text]}}])
    run = replace(
        RUN,
        input=said,
        output=said,
        params=snapshot({"tools": [text]}),
        tags=(text,),
        error=Error(text, "E", text),
        metadata={"k": text},
        user_props={"k": text},
    )
    items = [
        run,
        Feedback(run_id="r", at=NOW, comment=text),
        UserEvent(name="e", at=NOW, properties={"k": text}),
        Exchange(user_id="u", prompt=text, answer=text, at=NOW, properties={"k": text}),
    ]
    cleaned = [filter_for()(item) for item in items]

    core = secret.removeprefix("Bearer ").split("\n")[0]
    assert core not in repr(cleaned)
    assert repr(cleaned).count(", please") == repr(items).count(", please")
    assert orjson.loads(cleaned[0].input)[0]["role"] == "user"  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize(
    "text",
    ["task-list", "a risk-free-and-long-compound-word", "hf_short", "AKIA", "eyJ", "Bearer of"],
)
def test_words_are_no_secrets(text: str) -> None:
    """Ordinary words that begin like a secret stay."""
    assert mask_text(text) == text


def test_user_ids_hashed() -> None:
    """With a key, user ids leave as hashes, the same for the same user."""
    process = filter_for(hash_key=b"key")
    first = process(replace(RUN, user_id="ada", params=None))
    second = process(Feedback(run_id="r", at=NOW, thumb="up", user_id="ada"))

    assert first.user_id == second.user_id  # type: ignore[union-attr]
    assert len(first.user_id or "") == 64  # type: ignore[union-attr]


def test_no_content() -> None:
    """With content off, nothing that anybody wrote is left, and the counts and settings are."""
    run = filter_for(capture_content=False, redact=None)(RUN)

    assert isinstance(run, Run)
    assert "SECRET" not in texts(run).replace("'k': 'SECRET'", "")
    assert (run.usage, run.name, run.duration) == (Usage(prompt=9), "gpt-4o", 1.0)
    assert orjson.loads(run.params or b"") == {"temperature": 1}
    assert run.error == Error("ValueError", "ValueError", None, 400)


def test_no_content_in_feedback() -> None:
    """A comment is content; a thumb is not."""
    said = Feedback(run_id="r", at=NOW, thumb="up", comment="SECRET")

    assert filter_for(capture_content=False, redact=None)(said) == Feedback(
        run_id="r", at=NOW, thumb="up"
    )


def test_no_content_in_any_parameter() -> None:
    """With content off, words in parameters that nobody knows do not leave; numbers do."""
    params = {
        "temperature": 0.5,
        "stop": ["SECRET"],
        "documents": [{"text": "SECRET"}],
        "instructions": "SECRET",
        "tool_choice": {"type": "function", "function": {"name": "SECRET"}},
        "reasoning_effort": "low",
        "modalities": ["text"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    run = filter_for(capture_content=False)(replace(RUN, params=snapshot(params)))

    assert isinstance(run, Run)
    assert orjson.loads(run.params or b"") == {
        "temperature": 0.5,
        "reasoning_effort": "low",
        "modalities": ["text"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def redact(value: Any) -> Any:
    """Mask one word everywhere."""
    return orjson.loads(orjson.dumps(value).replace(b"SECRET", b"***"))


def test_redacted() -> None:
    """The hook sees every piece of content: input, output, parameters, errors, metadata."""
    run = filter_for(capture_content=True, redact=redact)(RUN)
    said = filter_for(capture_content=True, redact=redact)(
        Feedback(run_id="r", at=NOW, comment="a SECRET")
    )

    assert "SECRET" not in texts(run)
    assert isinstance(run, Run)
    assert run.input == b'[{"role":"user","content":"***"}]'
    assert isinstance(said, Feedback)
    assert said.comment == "a ***"


def fail(value: Any) -> Any:
    """Be a hook with a bug."""
    raise ValueError(value)


@pytest.mark.parametrize("hook", [fail, lambda value: value])
def test_fails_closed(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A hook that raises drops the content, is counted, and its exception is not logged."""
    guard.strict = False
    run = filter_for(capture_content=True, redact=hook)(RUN)

    assert ("SECRET" in texts(run)) == (hook is not fail)
    assert (notices.counts["failed to redact content"] > 0) == (hook is fail)
    assert "SECRET" not in caplog.text
