"""
LLMonitor, now called Lunary: start, end, error and feedback events, by either of its two routes.

With an app id, `POST {LLMONITOR_API_URL}/api/v1/report`: no credentials, the id stands in every
event. With a key, `POST {LUNARY_API_URL}/v1/runs/ingest`. The events are the same.

The server sorts a batch by its milliseconds, keeping the order sent within one. It waits 5 s for a
parent that it has not seen, then forgets the link, and it loses an end that comes before its start:
so the order and the timestamps made here never give it either.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import final

import orjson

from ..guard import notices
from ..run import ConfigError, Feedback, Item, Run
from ..snapshot import clean
from ._access import checked_key, checked_url
from ._base import Encoded, Environment, Limits, Request, Response, Verdict
from ._llmonitor_events import Fields, end_event, feedback_event, scrub, start_event
from ._llmonitor_reply import match, outcome, read_results, refusal
from ._text import EPOCH, MILLISECOND, milliseconds

ENV = ("LLMONITOR_APP_ID", "LUNARY_PRIVATE_KEY", "LUNARY_PUBLIC_KEY")

REPORT_URL = "https://app.llmonitor.com"
REPORT_PATH = "/api/v1/report"
INGEST_URL = "https://api.lunary.ai"
INGEST_PATH = "/v1/runs/ingest"

_PATHS = (REPORT_PATH, "/api/report", INGEST_PATH)


def from_env(env: Environment) -> LLMonitor:
    """
    Make the exporter for the key that is set: private before public before app id.

    Raises:
        ConfigError: No key is set, or one of them or the URL cannot be right.
    """
    key = env.get("LUNARY_PRIVATE_KEY") or env.get("LUNARY_PUBLIC_KEY")
    lunary, llmonitor = env.get("LUNARY_API_URL"), env.get("LLMONITOR_API_URL")
    # Whoever runs a server of their own and names it once never meant the hosted one.
    url = (lunary or llmonitor) if key else (llmonitor or lunary)
    return LLMonitor(env.get("LLMONITOR_APP_ID"), key=key, url=url)


@final
class LLMonitor:
    """
    Send runs and feedback to LLMonitor or Lunary.

    Args:
        app_id: The project's id, for the report route.
        key: The project's private or public key, for the ingestion route; it wins over *app_id*.
        url: Origin of a server of your own; None means the hosted one.

    Raises:
        ConfigError: Neither an app id nor a key was given, or one of the three cannot be right.
    """

    name = "llmonitor"
    limits = Limits()
    whole_traces = False

    def __init__(
        self, app_id: str | None = None, *, key: str | None = None, url: str | None = None
    ) -> None:
        secret, app = (key or "").strip(), (app_id or "").strip()
        if not secret and not app:
            raise ConfigError("set LLMONITOR_APP_ID to the project's id, or LUNARY_PUBLIC_KEY")
        self._headers: Mapping[str, str] = {}
        self._every: Fields = {}
        if secret:
            secret = checked_key(secret, "LUNARY_PRIVATE_KEY / LUNARY_PUBLIC_KEY")
            self._headers = {"Authorization": f"Bearer {secret}"}
            self._url = route(checked_url(url or INGEST_URL, "LUNARY_API_URL"), INGEST_PATH)
        else:
            self._every = {"app": clean(app)}
            self._url = route(checked_url(url or REPORT_URL, "LLMONITOR_API_URL"), REPORT_PATH)
            warn_of_app_id(app)

    def wants(self, item: Item) -> bool:
        """Take runs, open and ended, and feedback."""
        return isinstance(item, (Run, Feedback))

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        """Turn items into one request, in the order in which the server can follow them."""
        if not items:
            return Encoded(())
        events = [{**event, **self._every} for event in arrange(items, started)]
        body = scrub(orjson.dumps({"events": events}))
        return Encoded((Request(self._url, body, items, self._headers),))

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Read the result of each event in a 200, whichever of its three shapes that has."""
        if response.status != 200 or response.is_page:
            return None
        results = read_results(response.body)
        if not any(map(refusal, results)):
            return Verdict(len(request.items))
        outcomes = match(orjson.loads(request.body)["events"], results)
        dropped = Counter(filter(None, (outcome(item, outcomes) for item in request.items)))
        return Verdict(len(request.items) - dropped.total(), dropped)


def route(base: str, path: str) -> str:
    """Join an origin and *path*; a path of this server's that was given with it is put right."""
    if path == REPORT_PATH and base.endswith("/api/report"):
        return base  # the report route of a self-hosted backend, which has no other
    for known_path in _PATHS:
        base = base.removesuffix(known_path).rstrip("/")
    return base + path


def warn_of_app_id(app_id: str) -> None:
    """Say that today's servers know only UUIDs; the first ones did not, so it may be right."""
    try:
        uuid.UUID(app_id)
    except ValueError:
        notices.say(
            "llmonitor app id",
            "LLMONITOR_APP_ID is not a UUID: copy the project's id from its settings page "
            "(a server since 2024 refuses any other with status 402)",
        )


def arrange(items: Sequence[Item], started: Container[str]) -> Iterator[Fields]:
    """
    Give the events of *items* in order: parent before child, start before end, times never falling.

    A run whose start the server has gives its end alone; one that it does not know gives both. A
    parent that the server neither has nor gets here is left out: waiting would not bring it.
    """
    runs = latest_runs(items)
    begun = beginnings(runs)
    opened = {item.id for item in items if isinstance(item, Run) and item.duration is None}
    placed: list[tuple[tuple[int, int, int], Fields]] = []
    for run in runs.values():
        if run.id in opened or run.id not in started:
            ms, depth = begun[run.id]
            placed.append(((ms, 0, depth), start_event(run)))
    for item in items:
        if isinstance(item, Run) and item.ended_at is not None:
            ms, depth = begun[item.id]
            placed.append(((max(ms, milliseconds(item.ended_at)), 1, -depth), end_event(item)))
        elif isinstance(item, Feedback):
            ms, _ = begun.get(item.run_id, (0, 0))
            placed.append(((max(ms, milliseconds(item.at)), 2, 0), feedback_event(item, runs)))
    placed.sort(key=lambda pair: pair[0])
    for (ms, _, _), event in placed:
        parent = event.get("parentRunId")
        if parent is not None and parent not in runs and parent not in started:
            del event["parentRunId"]
        event["timestamp"] = iso(ms)
        yield event


def latest_runs(items: Sequence[Item]) -> dict[str, Run]:
    """Keep one of each run, the ended one if it is there, because it says more."""
    runs: dict[str, Run] = {}
    for item in items:
        if isinstance(item, Run) and (item.id not in runs or item.duration is not None):
            runs[item.id] = item
    return runs


def beginnings(runs: Mapping[str, Run]) -> dict[str, tuple[int, int]]:
    """Say when each run begins, in ms and never before its parent, and how deep it stands."""
    begun: dict[str, tuple[int, int]] = {}
    for run in runs.values():
        path: list[Run] = []
        node: Run | None = run
        while node is not None and node.id not in begun:
            begun[node.id] = (milliseconds(node.started_at), 0)
            path.append(node)
            node = runs.get(node.parent_id or "")
        for node in reversed(path):
            ms, depth = begun.get(node.parent_id or "", (0, -1))
            begun[node.id] = (max(ms, milliseconds(node.started_at)), depth + 1)
    return begun


def iso(ms: int) -> str:
    """Write a time as ISO 8601 in UTC, with milliseconds and `Z`."""
    return (EPOCH + ms * MILLISECOND).isoformat(timespec="milliseconds")[:-6] + "Z"
