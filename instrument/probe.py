"""Send a destination one run through the real transport; say what came back and what it means."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, final

from . import destinations
from .backfill import Stored
from .destinations import Destination
from .exporters._base import Encoded, HttpExporter, Request, Response, Verdict
from .run import Item, Run
from .snapshot import snapshot
from .transport import Bounds, Transport

PROBE = "instrument doctor"
"""Name of the run that a backend is sent, and its user."""

ANSWER_CHARS = 200
"""How much of a backend's answer is shown."""

_KEY = "the key is refused: check {key}"
_ADDRESS = "nothing is at this address: check {address}"
_ELSEWHERE = "the address leads elsewhere: set {address} to where that is"
STATUSES: Mapping[int, str] = {
    **dict.fromkeys((301, 302, 303, 307, 308), _ELSEWHERE),
    **dict.fromkeys((401, 402, 403), _KEY),
    **dict.fromkeys((404, 405, 410), _ADDRESS),
    429: "the backend wants fewer requests: try again later",
}
"""What to do after an answer with this status."""

SERVER_FAILED = "the backend itself fails: a program would keep its runs and try again"
PAGE = "a web page answers, and no API: check {address}"

ERRORS: Mapping[str, str] = {
    "ConnectError": "nobody listens there, or there is no such host: check {address} and the network",
    "ConnectTimeout": "nobody answers there: check {address}, firewall and proxy",
    "ReadError": "it hangs up: check {address}, and whether it is http or https",
    "RemoteProtocolError": "it hangs up: check {address}, and whether it is http or https",
}
"""What to do when there was no answer, by the last error."""

TOO_SLOW = "it may be overloaded: try again, or look at it"
_IS_ADDRESS = re.compile("URL|HOST")


@final
@dataclass(frozen=True, slots=True)
class Probed:
    """
    What came of a probe.

    Attributes:
        answer: What was asked and answered, and what to do; keys masked.
        ledger: accepted = delivered + queued + dropped, with the reasons.
    """

    has_arrived: bool
    answer: str
    ledger: str


@final
class Listener:
    """An exporter that keeps what was asked and answered last, and is otherwise another one."""

    def __init__(self, exporter: HttpExporter) -> None:
        self.name = exporter.name
        self.limits = exporter.limits
        self.whole_traces = exporter.whole_traces
        self.request: Request | None = None
        self.response: Response | None = None
        self._exporter = exporter

    def wants(self, item: Item) -> bool:
        """Ask the exporter."""
        return self._exporter.wants(item)

    def encode(self, items: Sequence[Item], started: Any) -> Encoded:
        """Have the exporter do it, and keep what it made."""
        encoded = self._exporter.encode(items, started)
        self.request = next(iter(encoded.requests), None)
        return encoded

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Keep the reply, and have the exporter read it."""
        self.request, self.response = request, response
        return self._exporter.verdict(request, response)


def probe(place: Destination, exporter: HttpExporter, seconds: float) -> Probed:
    """Send one run, and wait so long for the answer."""
    listener = Listener(exporter)
    transport = Transport([listener], bounds=Bounds(flush_interval=0.01))
    transport.publish(Stored(probe_run()))
    transport.flush(seconds)
    lane = transport.stats()["lanes"][place.name]
    transport.shutdown(0.5)
    has_arrived = lane["delivered"] == lane["accepted"] > 0
    answer = said(listener, lane, seconds, is_ok=has_arrived)
    advice = None if has_arrived else remedy(listener.response, lane)
    if advice is not None:
        answer += f" ({advice.format(**names(place))})"
    return Probed(has_arrived, place.masked(answer), equation(lane))


def probe_run() -> Run:
    """Make the run that a backend is sent."""
    run_id = str(uuid.uuid4())
    return Run(
        id=run_id,
        trace_id=run_id,
        parent_id=None,
        kind="llm",
        name=PROBE,
        started_at=datetime.now(timezone.utc),
        duration=0.01,
        input=snapshot([{"role": "user", "content": "Is anybody there?"}]),
        output=snapshot({"role": "assistant", "content": "This is a probe of the connection."}),
        user_id=PROBE.replace(" ", "-"),
        tags=(PROBE.replace(" ", "-"),),
    )


def said(listener: Listener, lane: Mapping[str, Any], seconds: float, *, is_ok: bool) -> str:
    """Write what a backend answered, or why there is no answer."""
    request, response = listener.request, listener.response
    if request is None:
        return "nothing could be sent"
    place = f"{request.method} {request.url}"
    if response is None:
        return f"{place}: no answer: {lane.get('last_error') or f'nothing within {seconds:g} s'}"
    body = " ".join(response.body.decode("utf-8", "replace").split())[:ANSWER_CHARS]
    return f"{place}: {response.status}" + ("" if is_ok or not body else f" {body}")


def remedy(response: Response | None, lane: Mapping[str, Any]) -> str | None:
    """Say what to do, where an answer or an error has one meaning alone."""
    if response is None:
        error = lane.get("last_error")
        return ERRORS.get(error) if error else TOO_SLOW
    if response.status >= 500:
        return SERVER_FAILED
    return STATUSES.get(response.status) or (PAGE if response.is_page else None)


def names(place: Destination) -> dict[str, str]:
    """Name the variables of a destination that a remedy speaks of."""
    keys = [name for name in destinations.keys_of(place.name) if name in place.settings]
    addresses = [name for name in place.settings if _IS_ADDRESS.search(name)]
    return {"key": " or ".join(keys), "address": " or ".join(addresses) or "the address"}


def equation(lane: Mapping[str, Any]) -> str:
    """Write accepted = delivered + queued + dropped, with the reasons."""
    parts = [f"{lane['delivered']} delivered", f"{lane['queued']} queued"]
    parts += [f"{count} dropped ({reason})" for reason, count in lane["dropped"].items()]
    return f"{lane['accepted']} accepted = {' + '.join(parts)}"
