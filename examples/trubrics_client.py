"""
The Trubrics client as its documentation has it: user events, and prompts with their answers.

    python examples/trubrics_client.py

With TRUBRICS_API_KEY in the environment the events go to Trubrics, and without to a small server on
this machine that prints them.
"""

from __future__ import annotations

import gzip
import os
from contextlib import ExitStack

import orjson

from instrument import Trubrics
from instrument.testing.loopback import Loopback, Request, Response


def show(request: Request) -> Response:
    """Print the events of a request."""
    zipped = request.header("content-encoding") == "gzip"
    for event in orjson.loads(gzip.decompress(request.body) if zipped else request.body):
        print(event["user_id"], event.get("event") or f"{event['prompt']} -> {event['generation']}")
    return Response(body=b"{}")


def connect(stack: ExitStack) -> Trubrics:
    """Make a client: of Trubrics with a key, else of the small server."""
    if os.environ.get("TRUBRICS_API_KEY"):
        return Trubrics()
    server = stack.enter_context(Loopback(show))
    return Trubrics("no key needed", host=f"http://127.0.0.1:{server.port}/api/ingestion")


def main() -> None:
    """Track a sign-up and an answer."""
    with ExitStack() as stack:
        trubrics = connect(stack)
        trubrics.track(event="Sign Up", user_id="ada", properties={"country": "Norway"})
        trubrics.track_llm(
            user_id="ada",
            prompt="What is the capital of Norway?",
            generation="Oslo is the capital of Norway.",
            assistant_id="gpt-4o-mini",
            thread_id="thread-1",
            latency=1.2,
        )
        trubrics.close()


if __name__ == "__main__":
    main()
