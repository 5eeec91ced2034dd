"""
A small HTTP/1.1 server on loopback: requests go to one function, whose replies may also misbehave.

It keeps connections alive, has a thread for each of them, and ends with its `with` block. Requests
are kept as they came over the wire: names of headers in their own case and order, bodies as bytes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BufferedReader
from types import TracebackType
from typing import Any, Literal, TypeAlias, final

import orjson

JOIN_SECONDS = 5.0
"""How long the end of a `with` block waits for each thread, in seconds."""

Ending: TypeAlias = Literal["whole", "drop", "hang", "refuse"]
"""How a reply ends; see `Response`."""


@final
@dataclass(frozen=True, slots=True)
class Request:
    """
    One request as it came in.

    Attributes:
        path: The request's target, with its query.
        headers: Names and values in the order and case in which they came.
        body: The body's bytes; a chunked one is put together.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of that name, in whichever case."""
        for given, value in self.headers:
            if given.lower() == name.lower():
                return value
        return None

    def json(self) -> Any:
        """Read the body as JSON."""
        return orjson.loads(self.body)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    What to reply, and how.

    Attributes:
        body: Bytes of known length, or pieces that are sent one by one in chunked encoding.
        ending: `whole` ends properly; `drop` closes the connection before the body is whole (bytes
            are cut in half); `hang` sends as much and then nothing until somebody gives up;
            `refuse` closes the connection without any reply.
        delay: Seconds before the first byte.
        pace: Seconds before each further piece.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    ending: Ending = "whole"
    delay: float = 0.0
    pace: float = 0.0


Answer: TypeAlias = Callable[[Request], Response]


@final
class Loopback:
    """
    Serve *answer* on a port of 127.0.0.1 that is free, for the time of a `with` block.

    Args:
        answer: Called for each request, on the thread of its connection.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._closing = threading.Event()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="loopback", daemon=True)

    def __enter__(self) -> Loopback:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            # Wakes accept(), which no close() does on every system.
            socket.create_connection(("127.0.0.1", self.port), timeout=JOIN_SECONDS).close()
        self._acceptor.join(JOIN_SECONDS)
        for connection, thread in list(self._open.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(JOIN_SECONDS)

    def _accept(self) -> None:
        with self._listener:
            while True:
                connection, _ = self._listener.accept()
                if self._closing.is_set():
                    connection.close()
                    return
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._open[connection] = thread
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            while (request := read_request(reader)) is not None:
                if not self._reply(connection, self._answer(request)):
                    break
        self._open.pop(connection, None)

    def _reply(self, connection: socket.socket, response: Response) -> bool:
        """Send a reply, and say whether the connection is still good for another request."""
        self._closing.wait(response.delay)
        if response.ending == "refuse":
            return False
        for index, piece in enumerate(frames(response)):
            if index > 1:
                self._closing.wait(response.pace)
            connection.sendall(piece)
        if response.ending == "hang":
            self._closing.wait()
        return response.ending == "whole"


def read_request(reader: BufferedReader) -> Request | None:
    """Read the next request of a connection, or None at its end."""
    line = reader.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers: list[tuple[str, str]] = []
    while (line := reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
    return Request(method, path, tuple(headers), read_body(reader, dict_of(headers)))


def dict_of(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Index headers by their name in lower case."""
    return {name.lower(): value for name, value in headers}


def read_body(reader: BufferedReader, headers: Mapping[str, str]) -> bytes:
    """Read the body that *headers* announce."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return reader.read(int(headers.get("content-length", "0")))
    parts: list[bytes] = []
    while size := int(reader.readline().split(b";")[0], 16):
        parts.append(reader.read(size))
        reader.readline()
    reader.readline()
    return b"".join(parts)


def frames(response: Response) -> Iterable[bytes]:
    """Write a reply as the pieces that go out one by one: the head first, unless it is one piece."""
    body = response.body
    if isinstance(body, bytes):
        whole = head(response, f"content-length: {len(body)}") + body
        yield whole if response.ending == "whole" else whole[: len(whole) - (len(body) + 1) // 2]
        return
    yield head(response, "transfer-encoding: chunked")
    for piece in body:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    if response.ending == "whole":
        yield b"0\r\n\r\n"


def head(response: Response, framing: str) -> bytes:
    """Write the status line and the headers."""
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*lines, framing, "", ""]).encode("latin-1")
