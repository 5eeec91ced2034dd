"""
A fake Lunary (LLMonitor) server at the wire: it stores, refuses and loses what the real one does.

`Lunary` is the server as a plain function from requests to replies, with rows in memory. `serve`
puts it on loopback, in threads of this process; `python tests/fakes/lunary.py --port 0` runs it as
a process of its own, which prints its URL and gives all it knows at `GET /rows`.

What the real server would wait for (5 s for a parent that it does not know, or for the start of an
llm end) is counted in `waits`, not slept. What it takes with `success: true` and throws away is
listed in `lost`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import sys
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

PROJECT = "bbbbbbbb-0000-4000-8000-000000000001"
"""The one project there is: its id, which is its public key too."""

PRIVATE_KEY = "cccccccc-0000-4000-8000-000000000001"

REPORT_PATHS = ("/api/v1/report", "/api/report")
INGEST_PATH = "/v1/runs/ingest"
MAX_BODY_BYTES = 20 * 1024 * 1024
MAX_INDEXED_BYTES = 2_704
MAX_INTEGER = 2**31 - 1
EXISTS = "Run with this ID already exists in the database."

Json = Any
Headers = Mapping[str, str]


class Refused(Exception):
    """A whole request is refused."""

    def __init__(
        self, status: int, message: str, headers: Headers | None = None, *, plain: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = message.encode() if plain else json.dumps({"message": message}).encode()


class EventError(Exception):
    """One event is refused inside a 200."""


@dataclass
class Row:
    """A row of the server's table `run`; keys inside the values are camel-cased."""

    id: str
    type: str
    created_at: datetime
    parent_run_id: str | None = None
    status: Literal["started", "success", "error"] = "started"
    ended_at: datetime | None = None
    name: str | None = None
    tags: list[str] | None = None
    params: Json = None
    input: Json = None
    output: Json = None
    error: Json = None
    feedback: dict[str, Json] | None = None
    metadata: dict[str, Json] = field(default_factory=dict)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_prompt_tokens: int | None = None
    user: str | None = None


@dataclass
class Seen:
    """One request as it came: its path, its headers in lower case, its body without gzip."""

    path: str
    headers: Headers
    body: bytes

    @property
    def events(self) -> list[dict[str, Json]]:
        """The events of the body, in the order sent."""
        events: list[dict[str, Json]] = json.loads(self.body)["events"]
        return events


class Lunary:
    """
    The server, without its socket.

    Args:
        reply: Shape of the report route's reply: today's bare array, 2023's `{results}` or
            the empty body from before that.
        requests_per_minute: After so many requests comes 429; None: never.
    """

    def __init__(
        self,
        *,
        reply: Literal["bare", "results", "empty"] = "bare",
        requests_per_minute: int | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.reply = reply
        self.requests_per_minute = requests_per_minute
        self.max_body_bytes = max_body_bytes
        self.rows: dict[str, Row] = {}
        self.users: dict[str, Json] = {}
        self.seen: list[Seen] = []
        self.waits = 0
        self.lost: list[tuple[str, str]] = []
        self.refused: list[tuple[str, str, str]] = []
        self.faults: deque[tuple[int, Headers]] = deque()
        self._lock = threading.Lock()

    @property
    def events(self) -> list[dict[str, Json]]:
        """Every event of every request that was taken in, in the order sent."""
        return [event for seen in self.seen for event in seen.events]

    def fail(self, *statuses: int, headers: Headers | None = None) -> None:
        """Answer the next requests with these statuses, and store nothing."""
        self.faults.extend((status, headers or {}) for status in statuses)

    def answer(
        self, method: str, path: str, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes]:
        """Take one request; *headers* have lower-case names."""
        with self._lock:
            if (method, path) == ("GET", "/rows"):
                return 200, {}, self.dump()
            try:
                return 200, {}, self._post(method, path.partition("?")[0], headers, body)
            except Refused as refusal:
                return refusal.status, refusal.headers, refusal.body

    def dump(self) -> bytes:
        """Write all that is known as JSON."""
        known = {
            "rows": [vars(row) for row in self.rows.values()],
            "users": self.users,
            "waits": self.waits,
            "lost": self.lost,
            "refused": self.refused,
            "requests": len(self.seen),
        }
        return json.dumps(known, default=str).encode()

    def _post(self, method: str, path: str, headers: Headers, body: bytes) -> bytes:
        if self.faults:
            status, extra = self.faults.popleft()
            raise Refused(status, "Internal server error", extra)
        if len(body) > self.max_body_bytes:
            raise Refused(413, "request entity too large")
        if self.requests_per_minute is not None:
            self.requests_per_minute -= 1
            if self.requests_per_minute < 0:
                wait = {"Retry-After": "1"}
                raise Refused(429, "Sometimes You Just Have to Slow Down.", wait, plain=True)
        if method != "POST" or path not in (*REPORT_PATHS, INGEST_PATH):
            raise Refused(404, "Not Found")
        key = credentials(headers)
        seen = Seen(path, headers, unpack(headers, body))
        events = envelope(seen, ingest=path == INGEST_PATH)
        if path != INGEST_PATH:
            check_app(events[0])
        elif key is None:
            raise Refused(402, "Incorrect project id format")
        if any(event is None for event in events):
            raise Refused(500, "Internal server error")
        self.seen.append(seen)
        return self._shape(path, self._take(events))

    def _shape(self, path: str, results: list[Json]) -> bytes:
        if path == INGEST_PATH or self.reply == "results":
            return json.dumps({"results": results}).encode()
        return b"" if self.reply == "empty" else json.dumps(results).encode()

    def _take(self, events: list[Json]) -> list[Json]:
        """Handle the events one by one, sorted by time; within one millisecond as they came."""
        results: list[Json] = []
        timed = [event for event in events if isinstance(event, dict)]
        for event in sorted(timed, key=lambda event: when(event).timestamp()):
            result = {"id": event.get("runId"), "success": True}
            try:
                self._register(camel(event), when(event))
            except EventError as error:
                result |= {"success": False, "error": str(error)}
                self.refused.append((str(event.get("event")), str(event.get("runId")), str(error)))
            results.append(result)
        return results

    def _register(self, event: dict[str, Json], at: datetime) -> None:
        what = event.get("event")
        handler = {
            "start": self._start,
            "end": self._end,
            "error": self._error,
            "feedback": self._feedback,
        }.get(str(what))
        run_id = event.get("runId")
        if handler is None or (what != "start" and not isinstance(run_id, str)):
            self.lost.append((str(what), str(run_id)))
            return
        if not isinstance(run_id, str):
            raise EventError(EXISTS)
        check_text(event)
        event["runId"] = as_uuid(run_id)
        self._meet_user(event)
        event["parentRunId"] = self._find_parent(event)
        handler(event, at)

    def _meet_user(self, event: dict[str, Json]) -> None:
        user = event.get("userId")
        if isinstance(user, str) and event["event"] not in ("end", "error"):
            self.users[user] = event.get("userProps")

    def _find_parent(self, event: dict[str, Json]) -> str | None:
        parent = event.get("parentRunId")
        if parent is None:
            return None
        parent = as_uuid(str(parent))
        if parent in self.rows:
            return parent
        self.waits += 1
        return None

    def _find(self, event: dict[str, Json]) -> Row | None:
        row = self.rows.get(event["runId"])
        if row is None:
            self.waits += event["event"] == "end" and event.get("type") == "llm"
            self.lost.append((event["event"], event["runId"]))
        return row

    def _start(self, event: dict[str, Json], at: datetime) -> None:
        if event.get("type") is None:
            raise EventError('null value in column "type" violates not-null constraint')
        check_start(event)
        if event["runId"] in self.rows:
            raise EventError(EXISTS)
        name, parent, tags = event.get("name"), event["parentRunId"], event.get("tags")
        self.rows[event["runId"]] = Row(
            id=event["runId"],
            type=str(event["type"]),
            created_at=at,
            parent_run_id=parent,
            name=name.removeprefix("models/") if isinstance(name, str) else None,
            tags=[tags] if isinstance(tags, str) else tags,
            params=event.get("params", event.get("extra")),
            input=event.get("input"),
            metadata=keepable(event.get("metadata")),
            user=(self.rows[parent].user if parent else None) or event.get("userId"),
        )

    def _end(self, event: dict[str, Json], at: datetime) -> None:
        counts = {
            name: integer((event.get("tokensUsage") or {}).get(name))
            for name in ("prompt", "completion", "promptCached")
        }
        row = self._find(event)
        if row is None:
            return
        output = event.get("output")
        row.ended_at, row.status = at, "success"
        row.output = str(output).lower() if isinstance(output, bool) else output
        row.input = event.get("input") or row.input
        row.metadata |= keepable(event.get("metadata"))
        row.prompt_tokens = counts["prompt"]
        row.completion_tokens = counts["completion"]
        row.cached_prompt_tokens = counts["promptCached"]

    def _error(self, event: dict[str, Json], at: datetime) -> None:
        if row := self._find(event):
            row.ended_at, row.status, row.error = at, "error", event.get("error")

    def _feedback(self, event: dict[str, Json], _: datetime) -> None:
        said = event.get("feedback") or {}
        check_indexed("feedback", json.dumps(said, ensure_ascii=False))
        if row := self._find(event):
            row.feedback = {**(row.feedback or {}), **said, **(event.get("extra") or {})}


# --------------------------------------------------------------------------------- whole requests


def credentials(headers: Headers) -> str | None:
    """Check the key, by whichever header it came; None when there is none."""
    bearer = headers.get("authorization")
    key = bearer.partition(" ")[2] if bearer is not None else headers.get("x-api-key")
    if key is None:
        return None
    if not is_uuid(key):
        raise Refused(401, "Invalid access token") if bearer else Refused(404, "Not Found")
    if key.lower() not in (PROJECT, PRIVATE_KEY):
        raise Refused(401, "Invalid API key")
    return key


def unpack(headers: Headers, body: bytes) -> bytes:
    """Undo gzip."""
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


def envelope(seen: Seen, *, ingest: bool) -> list[Json]:
    """Take the events out of a body."""
    body: Json = None
    if "json" in seen.headers.get("content-type", ""):
        try:
            body = json.loads(seen.body.decode("utf-8-sig"))
        except ValueError:
            raise Refused(400, "Invalid JSON") from None
    events = body.get("events") if isinstance(body, dict) else None
    if ingest:
        if events is None:
            raise Refused(500, "Missing events payload.")
        return events if isinstance(events, list) else [events]
    if not isinstance(events, list) or not events:
        raise Refused(400, "Missing events payload.")
    return events


def check_app(first: Json) -> None:
    """Find the project of a report: the first event names it, as `projectId` or `app`."""
    named = (first or {}).get("projectId") or (first or {}).get("app")
    if not isinstance(named, str) or not is_uuid(named):
        raise Refused(402, "Incorrect project id format")
    if named.lower() != PROJECT:
        raise Refused(401, "This project does not exist")


# ------------------------------------------------------------------------------------ one event


def when(event: Json) -> datetime:
    """Read a timestamp, cut to the millisecond; what cannot be read is now."""
    given = event.get("timestamp")
    try:
        if isinstance(given, (int, float)):
            return datetime.fromtimestamp(given / 1000, timezone.utc)
        at = datetime.fromisoformat(re.sub(r"Z$", "+00:00", str(given)))
    except (ValueError, OverflowError):
        return datetime.now(timezone.utc)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def camel(value: Json) -> Json:
    """Camel-case every key at every depth, as the server does."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub(r"[_-]+([a-zA-Z])", lambda found: found[1].upper(), key): camel(item)
        for key, item in value.items()
    }


def is_uuid(text: str) -> bool:
    """Say whether a text of 36 characters is a UUID."""
    return re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None


def as_uuid(run_id: str) -> str:
    """Take an id of 36 characters as it is, and make a UUID of the hash of any other."""
    if len(run_id) in (0, 36):
        if not is_uuid(run_id):
            raise EventError(f'invalid input syntax for type uuid: "{run_id}"')
        return run_id.lower()
    return str(uuid.UUID(hashlib.sha256(run_id.encode()).hexdigest()[:32], version=4))


def texts(value: Json) -> Iterator[str]:
    """Walk through every string, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        yield from value
        yield from texts(list(value.values()))


def check_text(event: Json) -> None:
    """Refuse what PostgreSQL cannot store."""
    for text in texts(event):
        if "\0" in text:
            raise EventError("unsupported Unicode escape sequence")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise EventError("invalid input syntax for type json")


def check_indexed(column: str, text: str) -> None:
    """Refuse what is too large for the index of its column."""
    size = len(text.encode())
    if size > MAX_INDEXED_BYTES:
        limit = f"maximum {MAX_INDEXED_BYTES}"
        raise EventError(f'index row size {size} exceeds btree {limit} for index "run_{column}"')


def check_start(event: Json) -> None:
    """Refuse what the columns of a new row cannot hold."""
    if isinstance(event.get("input"), bool):
        raise EventError('column "input" is of type jsonb but expression is of type boolean')
    tags = event.get("tags")
    if isinstance(tags, list) and any(isinstance(tag, (list, dict)) for tag in tags):
        raise EventError("malformed array literal")
    if isinstance(event.get("name"), str):
        check_indexed("name", event["name"])


def integer(value: Json) -> int | None:
    """Read a token count as a column of 32 bits takes it."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = 0.5
    if number != int(number) or number > MAX_INTEGER:
        raise EventError(f'invalid input syntax for type integer: "{value}"')
    return int(number)


def keepable(metadata: Json) -> dict[str, Json]:
    """Keep the scalars, and lists of scalars, of the first level."""
    scalar = (str, int, float, bool)
    return {
        name: value
        for name, value in (metadata or {}).items()
        if isinstance(value, scalar)
        or (isinstance(value, list) and all(isinstance(item, scalar) for item in value))
    }


# -------------------------------------------------------------------------------------- the wire


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    lunary: Lunary


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, extra, reply = self.server.lunary.answer(self.command, self.path, headers, body)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **extra}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST = do_PUT = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a test's output is the test's."""


@contextmanager
def serve(lunary: Lunary) -> Iterator[str]:
    """Put the server on loopback for the length of a block; gives its origin."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.lunary = lunary
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main(arguments: list[str]) -> None:
    """Run as a process of its own until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free")
    with _Server(("127.0.0.1", parser.parse_args(arguments).port), _Handler) as server:
        server.lunary = Lunary()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
