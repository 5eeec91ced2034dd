"""The options by which a command is told which runs are meant."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import get_args

from ..exporters.sqlite import store_path
from ..run import Run
from ..store import Filters
from ..tree import Status, status

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
"""What stands behind a number that says how long ago."""

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def positive(text: str) -> int:
    """Read a whole number above zero."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def moment(text: str) -> datetime:
    """
    Read a point in time: `2h` ago (s, m, h, d, w), or a date or time as ISO 8601 writes it.

    Raises:
        ValueError: It is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return datetime.now(timezone.utc) - timedelta(**{UNITS[ago[2]]: float(ago[1])})
    at = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    return at.astimezone(timezone.utc)  # without a zone it is this machine's time


moment.__name__ = "time"  # what argparse calls it when it cannot be read


def add_store(command: argparse.ArgumentParser) -> None:
    """Let a command be told which store."""
    command.add_argument(
        "--store", metavar="FILE", help="else INSTRUMENT_STORE, .instrument/runs.db"
    )


def add_since(command: argparse.ArgumentParser) -> None:
    """Let a command be told how far back to look."""
    command.add_argument(
        "--since", type=moment, metavar="TIME", help="such as 30m, 2h, 7d, 2026-05-01"
    )


def add_filters(command: argparse.ArgumentParser) -> None:
    """Let a command be told which traces: those with a run of which all of it holds."""
    command.add_argument("--status", choices=get_args(Status), help="how a run ended")
    for name, words in (
        ("model", "the model that was asked for"),
        ("user", "who it was for"),
        ("thread", "the conversation"),
        ("tag", "a word that was bound"),
    ):
        command.add_argument(f"--{name}", metavar=name.upper(), help=words)
    add_since(command)


def filters_of(options: argparse.Namespace) -> Filters:
    """Read which runs are meant."""
    return Filters(
        status=options.status,
        model=options.model,
        user_id=options.user,
        thread_id=options.thread,
        tag=options.tag,
        since=options.since,
    )


def environment() -> Mapping[str, str]:
    """Give the variables of this process."""
    return os.environ


def path_of(options: argparse.Namespace) -> Path:
    """Say which store is meant."""
    return Path(options.store).absolute() if options.store else store_path(os.environ)


def is_meant(run: Run, filters: Filters) -> bool:
    """Say whether a run is one of those, by the filters that `add_filters` knows."""
    model = run.name if run.kind in {"llm", "embedding"} else None
    pairs = (
        (filters.status, status(run)),
        (filters.model, model),
        (filters.user_id, run.user_id),
        (filters.thread_id, run.thread_id),
    )
    return (
        all(wanted is None or wanted == found for wanted, found in pairs)
        and (filters.tag is None or filters.tag in run.tags)
        and (filters.since is None or filters.since <= run.started_at)
    )
