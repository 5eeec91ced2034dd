"""User ids as keyed hashes: the same user stays one user, and nobody can try likely names."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timezone

import orjson
import pytest

from instrument.identity import hash_user_id, hide_user
from instrument.run import Exchange, Feedback, Item, Run, Trace, UserEvent
from instrument.snapshot import snapshot

KEY = b"secret"
NOW = datetime(2024, 10, 9, tzinfo=timezone.utc)
RUN = Run(
    id="r",
    trace_id="r",
    parent_id=None,
    kind="llm",
    name="gpt-4o",
    started_at=NOW,
    user_id="zoe@example.com",
    user_props={"name": "Zoe"},
    params=snapshot({"user": "zoe@example.com", "safety_identifier": "zoe", "temperature": 0}),
    metadata={"user_id": "zoe@example.com", "plan": "pro"},
)
ITEMS: list[Item] = [
    RUN,
    Trace([RUN]),
    Feedback(run_id="r", at=NOW, user_id="zoe@example.com"),
    UserEvent(name="x", at=NOW, user_id="zoe@example.com"),
    Exchange(user_id="zoe@example.com", prompt="p", answer="a", at=NOW),
]


def test_hash() -> None:
    """It is HMAC with SHA-256: without the key nobody can try likely ids."""
    wanted = hmac.new(KEY, b"zoe@example.com", hashlib.sha256).hexdigest()

    assert hash_user_id("zoe@example.com", KEY) == wanted
    assert hash_user_id("zoe@example.com", b"other") != wanted
    assert len(hash_user_id("\ud800", KEY)) == 64


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_nothing_of_the_user_is_left(item: Item) -> None:
    """No item says who the user is, in whichever of its fields; the hash is the same in all."""
    hidden = repr(hide_user(item, KEY))

    assert "zoe" not in hidden.lower()
    assert hash_user_id("zoe@example.com", KEY) in hidden


def test_all_else_stays() -> None:
    """What does not name the user is as it was."""
    hidden = hide_user(RUN, KEY)

    assert isinstance(hidden, Run)
    assert hidden.metadata["plan"] == "pro"
    assert orjson.loads(hidden.params or b"")["temperature"] == 0


def test_nobody_stays_nobody() -> None:
    """Where there is no user there is no hash: else all of them would be one user."""
    event = UserEvent(name="x", at=NOW)
    bare = Run(
        id="r",
        trace_id="r",
        parent_id=None,
        kind="llm",
        name="m",
        started_at=NOW,
        params=snapshot(1),
    )

    assert hide_user(event, KEY) == event
    assert hide_user(bare, KEY) == bare
