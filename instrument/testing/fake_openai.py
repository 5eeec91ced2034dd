"""
A fake OpenAI server at the wire, for tests and examples: no key, no network, no cost.

    with FakeOpenAI() as server:
        client = OpenAI(base_url=server.url, api_key="test")
        server.reply(text="Paris")
        client.chat.completions.create(model="gpt-4o-mini", messages=[...])

Replies are taken from the script in order; when there is none left, recorded runs answer
(`replay`), or the prompt itself decides.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

import orjson

from .completions import Script, calls, completion, error_object, event, events, improvise
from .loopback import Ending, Loopback, Request, Response

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .replay import Source, Tape

ROUTE = "/chat/completions"
AZURE_FIRST_CHUNK = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [],
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
}
"""Azure says first, in a chunk without choices, what its filter thinks of the prompt."""
_TOOL_CALLS = 'tool_calls are such as [{"name": "weather", "arguments": {"town": "Oslo"}}]'


@final
class FakeOpenAI:
    """
    Answer `POST .../chat/completions`, under any prefix (Azure's deployment paths too).

    Attributes:
        requests: Every request so far, as it came over the wire.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._scripts: deque[Script] = deque()
        self._tape: Tape | None = None
        self._numbers = itertools.count(1)
        self._server = Loopback(self._answer)

    def __enter__(self) -> FakeOpenAI:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, traceback)

    @property
    def origin(self) -> str:
        """Scheme, host and port: what Azure's client calls its endpoint."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def url(self) -> str:
        """What a client takes as `base_url`."""
        return f"{self.origin}/v1"

    def reply(self, **script: Unpack[Script]) -> None:
        """
        Say what the next request that has no reply yet is answered with; see `Script`.

        Raises:
            TypeError: There is no such thing to say, or a tool call has no name.
        """
        unknown = script.keys() - Script.__annotations__.keys()
        if unknown:
            known = ", ".join(sorted(Script.__annotations__))
            raise TypeError(f"reply() knows {known}, not {', '.join(sorted(unknown))}")
        try:
            calls(script)
        except (AttributeError, KeyError, TypeError) as error:
            raise TypeError(_TOOL_CALLS) from error
        self._scripts.append(script)

    def replay(self, source: Source, *, strict: bool = False) -> None:
        """
        Answer from now on as recorded runs were answered; what `reply` said comes first still.

        A request gets the answer of the run with its model and messages, else of the next run that
        has not been played; when there is none, an error 400 that says so.

        Args:
            source: A store, a file of JSON lines, or runs, such as `capture` gives.
            strict: Answer only requests whose model and messages were recorded.

        Raises:
            ValueError: There is no model call in it.
            OSError: The file cannot be read.
        """
        from .replay import Tape

        self._tape = Tape(source, strict=strict)

    def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        number = next(self._numbers)
        if not request.path.partition("?")[0].endswith(ROUTE):
            return respond({"status": 404}, number, {"error": error_object({"status": 404})})
        try:
            asked = dict(request.json())
        except (TypeError, ValueError):
            return respond({"status": 400}, number, {"error": error_object({"status": 400})})
        try:
            script = self._scripts.popleft()
        except IndexError:
            script = improvise(asked) if self._tape is None else self._tape.script(asked)
        return answer(script, asked, number, azure="/openai/deployments/" in request.path)


def answer(script: Script, asked: Mapping[str, Any], number: int, *, azure: bool) -> Response:
    """Turn a script into the reply to a request."""
    answer_id = f"chatcmpl-{number:06d}"
    if "raw" in script:
        return respond(script, number, script["raw"])
    if "body" in script:
        return respond(script, number, orjson.dumps(script["body"]))
    if script.get("status", 200) >= 400:
        return respond(script, number, {"error": error_object(script)})
    as_is = not all(isinstance(chunk, str) for chunk in script.get("chunks", ()))
    if asked.get("stream") or as_is:
        first = [event(AZURE_FIRST_CHUNK)] if azure and not as_is else []
        return respond(script, number, itertools.chain(first, events(script, asked, answer_id)))
    if "error" in script:
        return respond(script, number, {"error": error_object(script)})
    return respond(script, number, completion(script, asked, answer_id))


def respond(
    script: Script, number: int, body: bytes | Mapping[str, Any] | Iterator[bytes]
) -> Response:
    """Put the headers around a body, and say how the reply is to end."""
    streamed = not isinstance(body, (bytes, Mapping))
    kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
    headers = {
        "content-type": script.get("content_type", kind),
        "x-request-id": f"req_{number:06d}",
        "openai-organization": "fake",
        "openai-processing-ms": "12",
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-remaining-tokens": "199900",
        "x-ratelimit-reset-requests": "8.64s",
        "x-ratelimit-reset-tokens": "30ms",
    }
    if "retry_after" in script:
        headers["retry-after"] = f"{script['retry_after']:g}"
    headers.update(script.get("headers", {}))
    return Response(
        status=script.get("status", 200),
        headers=headers,
        body=orjson.dumps(body) if isinstance(body, Mapping) else body,
        ending=ending(script),
        delay=script.get("delay", 0.0),
        pace=script.get("pace", 0.0),
    )


def ending(script: Script) -> Ending:
    """Say how a reply ends."""
    if script.get("drop") == "at once":
        return "refuse"
    if script.get("hang"):
        return "hang"
    return "drop" if script.get("drop") else "whole"
