"""
How destinations are compared with what was agreed: golden files, schemas and the shared samples.

`write(exporter)` writes the golden files of a destination anew; the change is then to be read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import orjson
import pytest

from instrument.exporters._base import Encoded, HttpExporter, Request, Response, Verdict
from instrument.run import Item, Run
from instrument.testing.loopback import Answer
from instrument.testing.loopback import Request as Received
from tests.exporters.cases import GOLDEN, offered

HERE = Path(__file__).parent
GOLDENS = HERE / "golden"
SCHEMAS = HERE.parent / "schemas"
SHARED = HERE.parents[2] / "shared" / "wire"
LONG_CHARS = 2_000


def encode(exporter: HttpExporter, runs: Sequence[Run]) -> Encoded:
    """Offer *runs* as the transport does and encode what the exporter wants."""
    items = offered(runs, whole_traces=exporter.whole_traces)
    return exporter.encode([item for item in items if exporter.wants(item)], ())


def posts(encoded: Encoded) -> list[dict[str, Any]]:
    """Show requests as plain values."""
    return [
        {"method": each.method, "url": each.url, "body": orjson.loads(each.body)}
        for each in encoded.requests
    ]


def picture(exporter: HttpExporter, case: str) -> Any:
    """Show what a golden case becomes, long texts as their length and hash."""
    encoded = encode(exporter, GOLDEN[case]())
    return {"requests": shorten(posts(encoded)), "dropped": dict(encoded.dropped)}


def shorten(value: Any) -> Any:
    """Replace texts that are too long for a file by what identifies them."""
    if isinstance(value, str) and len(value) > LONG_CHARS:
        digest = hashlib.sha256(value.encode()).hexdigest()[:16]
        return f"<{len(value)} characters, sha256 {digest}>"
    if isinstance(value, dict):
        return {key: shorten(entry) for key, entry in value.items()}
    return [shorten(entry) for entry in value] if isinstance(value, list) else value


def golden(destination: str, case: str) -> Any:
    """Read the golden file of a case."""
    return orjson.loads((GOLDENS / f"{destination}.{case}.json").read_bytes())


def validators(prefix: str) -> dict[str, list[jsonschema.Draft202012Validator]]:
    """Load the schemas of a destination by name: the project's own, and the shared ones if there."""
    found: dict[str, list[jsonschema.Draft202012Validator]] = {}
    for folder in (SCHEMAS, SHARED / "schemas"):
        for path in sorted(folder.glob(f"{prefix}.*.json")):
            validator = jsonschema.Draft202012Validator(
                orjson.loads(path.read_bytes()),
                format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
            )
            found.setdefault(path.stem, []).append(validator)
    return found


def sample(case: str, destination: str) -> list[dict[str, Any]]:
    """Read the agreed requests of a case, or skip the test when they are not beside this checkout."""
    path = SHARED / "mapping" / "cases.json"
    if not path.exists():
        pytest.skip("the shared samples are not beside this checkout")
    requests: list[dict[str, Any]] = orjson.loads(path.read_bytes())[case][destination]
    return requests


def deliver(
    exporter: HttpExporter, items: Sequence[Item], answer: Answer, *, tries: int = 3
) -> Counter[str]:
    """
    Carry *items* to a fake server, and again what is to be sent again.

    Returns:
        Items by what became of them: `delivered`, `waiting`, or the reason of a drop.
    """
    counts: Counter[str] = Counter()
    waiting = [item for item in items if exporter.wants(item)]
    for _ in range(tries):
        encoded = exporter.encode(waiting, ()) if waiting else Encoded(())
        counts.update(encoded.dropped)
        waiting = []
        for request in encoded.requests:
            verdict = post(exporter, request, answer)
            counts["delivered"] += verdict.delivered
            counts.update(verdict.dropped)
            waiting += verdict.retry
    counts["waiting"] = len(waiting)
    return +counts


def post(exporter: HttpExporter, request: Request, answer: Answer) -> Verdict:
    """Post one request, and judge the reply as a lane does."""
    headers = tuple(request.headers.items())
    reply = answer(Received(request.method, urlsplit(request.url).path, headers, request.body))
    body = reply.body if isinstance(reply.body, bytes) else b""
    verdict = exporter.verdict(request, Response(reply.status, {}, body))
    if verdict is not None:
        return verdict
    if 200 <= reply.status < 300:
        return Verdict(len(request.items))
    return Verdict(0, retry=request.items) if reply.status >= 500 else Verdict(0, {"refused": 1})


def same_items(encoded: Encoded, items: Sequence[Item]) -> bool:
    """Say whether each item is in exactly one request, or was dropped."""
    sent = [id(item) for request in encoded.requests for item in request.items]
    told = sum(encoded.dropped.values())
    return len(sent) == len(set(sent)) and len(sent) + told == len(items)


def write(exporter: HttpExporter) -> None:
    """Write the golden files of one destination."""
    for case in GOLDEN:
        text = orjson.dumps(picture(exporter, case), option=orjson.OPT_INDENT_2)
        (GOLDENS / f"{exporter.name}.{case}.json").write_bytes(text + b"\n")
