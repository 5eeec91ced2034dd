"""
A backend at the wire that does what a script says: answers, hangs, drips, resets, lies.

`FaultServer(Answer(503), Hang())` plays its steps one a request and then answers 200. With
`decide=` a function of the ids in the request chooses the step. What it stored is in `stored`, in
order; a request counts as stored when it is answered with 2xx (or says so itself).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import final


@dataclass(frozen=True)
class Answer:
    """Reply with this status."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    delay: float = 0.0
    close: bool = False  # without a word, after the reply


@dataclass(frozen=True)
class Hang:
    """Take the request and never reply."""


@dataclass(frozen=True)
class Drip:
    """Reply byte by byte, beginning with the status line."""

    interval: float = 0.05


@dataclass(frozen=True)
class Raw:
    """Send these bytes and close, with a reset when *reset*; *stores* keeps what was sent first."""

    data: bytes = b""
    reset: bool = False
    stores: bool = False


@dataclass(frozen=True)
class Deaf:
    """Never read the request."""


Step = Answer | Hang | Drip | Raw | Deaf

RESET = Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", reset=True)
NO_REPLY = Raw()
REPLY_LOST = Raw(stores=True)
GARBAGE = Raw(b"\x00\xffnot http at all\r\n\r\n")
TRUNCATED = Raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":')


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    ids: list[str]


@final
class FaultServer:
    """A server on loopback, in threads; a context manager."""

    def __init__(
        self,
        *script: Step,
        decide: Callable[[list[str]], Step] | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.script = list(script)
        self.decide = decide
        self.requests: list[Seen] = []
        self.stored: list[str] = []
        self.connections = 0
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/runs"

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and drop all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def bodies(self) -> list[list[str]]:
        """The ids of each request."""
        return [seen.ids for seen in self.requests]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
        self.connections += 1
        self._open.add(connection)
        with contextlib.suppress(OSError, ValueError):
            stream = connection.makefile("rb")
            while self._one(connection, stream):
                pass
        self._open.discard(connection)
        with contextlib.suppress(OSError):
            connection.close()

    def _one(self, connection: socket.socket, stream: object) -> bool:
        if self.script and isinstance(self.script[0], Deaf):
            time.sleep(30)
        seen = read_request(stream)
        if seen is None:
            return False
        with self._lock:
            self.requests.append(seen)
            step = self._step(seen)
            if isinstance(step, (Answer, Raw)) and stores(step):
                self.stored.extend(seen.ids)
        return play(step, connection)

    def _step(self, seen: Seen) -> Step:
        if self.decide is not None:
            return self.decide(seen.ids)
        return self.script.pop(0) if self.script else Answer()


def stores(step: Answer | Raw) -> bool:
    """Say whether a backend that does this has kept what was sent."""
    return step.stores if isinstance(step, Raw) else 200 <= step.status < 300


def read_request(stream: object) -> Seen | None:
    """Read one request; None when the client is gone."""
    line = stream.readline().decode()
    if not line:
        return None
    method, path, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    while (line := stream.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    raw = stream.read(int(headers.get("content-length", 0)))
    body = gzip.decompress(raw) if headers.get("content-encoding") == "gzip" else raw
    ids = json.loads(body) if body else []
    return Seen(time.monotonic(), method, path, headers, raw, ids if isinstance(ids, list) else [])


def play(step: Step, connection: socket.socket) -> bool:
    """Do the step; False ends the connection."""
    if isinstance(step, Answer):
        time.sleep(step.delay)
        connection.sendall(rendered(step))
        return not step.close
    if isinstance(step, Hang):
        connection.settimeout(30)
        connection.recv(1)
    elif isinstance(step, Drip):
        for byte in dripping():
            connection.sendall(byte)
            time.sleep(step.interval)
    elif isinstance(step, Raw):
        connection.sendall(step.data)
        if step.reset:
            time.sleep(0.02)
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    return False


def rendered(step: Answer) -> bytes:
    """Write the reply down."""
    headers = {"Content-Length": str(len(step.body)), **step.headers}
    lines = [f"HTTP/1.1 {step.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + step.body


def dripping() -> Iterator[bytes]:
    """Give a reply without end, a byte at a time."""
    yield from (bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nX-Filler: ")
    while True:
        yield b"x"
