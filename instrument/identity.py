"""
Who a run was made for, and how not to tell: user ids as keyed hashes.

A keyed hash keeps one user's runs together at a destination that cannot find out who it is: without
the key, nobody can try likely names and e-mail addresses.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import orjson

from .guard import notices
from .run import JSON, Exchange, Feedback, Item, Run, Snapshot, Trace, UserEvent

REQUEST_FIELDS = ("user", "safety_identifier")
"""Parameters of a request to a model that name its user."""

METADATA_FIELDS = ("user_id", "userId", "user")
"""Metadata that names the user, as LangChain's callers have it."""

_Told = TypeVar("_Told", bound="Run | Feedback | UserEvent | Exchange")


def hash_user_id(user_id: str, key: bytes) -> str:
    """Hash *user_id* with *key*: HMAC with SHA-256, 64 hexadecimal digits."""
    return hmac.new(key, user_id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()


def hide_user(item: Item, key: bytes) -> Item:
    """
    Replace the user id of *item* by its keyed hash, wherever the item carries it.

    In a run that is the bound user, the request's own fields, and the usual metadata; what else was
    bound about the user (name, e-mail, plan) is left out. The same user has the same hash in runs,
    feedback and user events.
    """
    if isinstance(item, Trace):
        return Trace([_hide_in_run(run, key) for run in item.runs])
    if isinstance(item, Run):
        return _hide_in_run(item, key)
    return _hide_bound(item, key)


def _hide_bound(item: _Told, key: bytes) -> _Told:
    if not item.user_id:
        return item
    return replace(item, user_id=hash_user_id(item.user_id, key))


def _hide_in_run(run: Run, key: bytes) -> Run:
    return replace(
        _hide_bound(run, key),
        user_props=None,
        params=_hide_in_params(run.params, key),
        metadata=_hide_fields(run.metadata, METADATA_FIELDS, key),
    )


def _hide_in_params(params: Snapshot | None, key: bytes) -> Snapshot | None:
    values = None if params is None else orjson.loads(params)
    if not isinstance(values, dict):
        return params
    return Snapshot(orjson.dumps(_hide_fields(values, REQUEST_FIELDS, key)))


def _hide_fields(
    values: Mapping[str, JSON], names: tuple[str, ...], key: bytes
) -> Mapping[str, JSON]:
    hidden = {
        name: hash_user_id(value, key)
        for name in names
        if isinstance(value := values.get(name), str)
    }
    return {**values, **hidden} if hidden else values


def say_no_user(destination: str) -> None:
    """Warn, once a minute, that a destination takes nothing without a user, and say the remedy."""
    notices.say(
        f"no user for {destination}",
        "%s takes nothing without a user id, and some runs have none: bind one with "
        "`with instrument.context(user_id=...)`, send it as the request's `safety_identifier`, "
        "or set INSTRUMENT_USER_ID",
        destination,
    )
