"""Content that must not leave does not, whatever the hook does."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import orjson
import pytest

from instrument.guard import guard, notices
from instrument.privacy import filter_for
from instrument.run import Answer, Error, Feedback, Run, Snapshot, Usage

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
    """Without settings an item passes as it is."""
    assert filter_for(capture_content=True, redact=None)(RUN) is RUN


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
