"""
A destination of your own, in one file: runs as short lines, posted to a webhook.

    python examples/custom_exporter.py

An exporter says which items it wants, how a batch of them becomes requests, and what a reply means.
It never sees a socket: batches, retries, bounds and counts are the transport's. Here the webhook is a
small server on this machine, and so is the model.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence

from openai import OpenAI

import instrument
from instrument.exporters._base import Encoded, Limits, Request, Response, Verdict
from instrument.run import Item, Run
from instrument.testing import FakeOpenAI
from instrument.testing.loopback import Loopback
from instrument.testing.loopback import Request as Received
from instrument.testing.loopback import Response as Reply


class Webhook:
    """Post each ended model call as one line of text."""

    name = "webhook"
    limits = Limits(max_items=50)
    whole_traces = False

    def __init__(self, url: str) -> None:
        self.url = url

    def wants(self, item: Item) -> bool:
        """Take model calls, once they have ended."""
        return isinstance(item, Run) and item.kind == "llm" and item.duration is not None

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        """Write a batch as one request."""
        lines = [line(item) for item in items if isinstance(item, Run)]
        body = json.dumps({"lines": lines}).encode()
        return Encoded([Request(self.url, body, items)] if items else [])

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Leave it to the transport, which goes by the status."""
        return None


def line(run: Run) -> str:
    """Say who asked whom, how long it took and how it went."""
    outcome = "ok" if run.error is None else run.error.type
    return f"{run.user_id or 'somebody'} asked {run.name}: {outcome} after {run.duration:.1f} s"


def webhook(request: Received) -> Reply:
    """Print what comes in, as a chat room would show it."""
    for text in request.json()["lines"]:
        print(text)
    return Reply(status=204)


def main() -> None:
    """Trace a call to the webhook."""
    with Loopback(webhook) as server, FakeOpenAI() as model:
        url = f"http://127.0.0.1:{server.port}/hook"
        instrument.instrument(exporters=[Webhook(url)])
        with OpenAI(base_url=model.url, api_key="no key needed") as client:
            question = {"role": "user", "content": "What is the capital of Norway?"}
            with instrument.context(user_id="ada"):
                client.chat.completions.create(model="gpt-4o-mini", messages=[question])
        instrument.shutdown()


if __name__ == "__main__":
    main()
