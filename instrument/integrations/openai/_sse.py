"""
Server-sent events from bytes that are cut anywhere.

An event ends at an empty line; lines end with LF, CRLF or CR. Kept is the unfinished event alone,
and one that grows over `MAX_EVENT_BYTES` is left out.
"""

from __future__ import annotations

import re
from typing import TypeAlias, final

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Size of one event that is read, in bytes."""

Event: TypeAlias = "tuple[bytes, int]"
"""The text of an event without the empty line, and the offset in the stream where it ended."""

_GAP = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_MAX_GAP_BYTES = 4


@final
class Splitter:
    """
    Cut a stream into its events.

    Args:
        start: Offset of the first byte in the stream.
        max_event_bytes: Size of one event that is given.
    """

    __slots__ = ("_at", "_held", "_held_bytes", "_max_bytes", "_skip")

    def __init__(self, start: int = 0, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        self._at = start
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._skip = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and give the events that they end."""
        if b"\n" not in data and b"\r" not in data:
            self._hold(data)
            return []
        if self._held:
            data = b"".join([*self._held, data])
            self._held.clear()
            self._held_bytes = 0
        events = self._cut_lines(data) if b"\r" in data else self._cut(data)
        return [(text.lstrip(b"\r\n"), at) for text, at in events if len(text) <= self._max_bytes]

    def finish(self) -> Event:
        """Give what is left: an event that no empty line ended."""
        rest = b"" if self._skip else b"".join(self._held)
        return rest.strip(b"\r\n"), self._at + len(rest)

    def _cut(self, data: bytes) -> list[Event]:
        """Cut at LF LF, which is what nearly everybody sends."""
        texts = data.split(b"\n\n")
        events = []
        at = self._at
        rest = texts.pop()
        for text in texts:
            at += len(text)
            events.append((text, at))
            at += 2
        return self._ended(events, rest, at)

    def _cut_lines(self, data: bytes) -> list[Event]:
        events = []
        start = 0
        for gap in _GAP.finditer(data):
            events.append((data[start : gap.start()], self._at + gap.start()))
            start = gap.end()
        return self._ended(events, data[start:], self._at + start)

    def _ended(self, events: list[Event], rest: bytes, at: int) -> list[Event]:
        if events and self._skip:
            self._skip = False
            events = events[1:]
        self._at = at
        self._hold(rest)
        return events

    def _hold(self, data: bytes) -> None:
        if not data:
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes <= self._max_bytes + _MAX_GAP_BYTES:
            return
        tail = b"".join(self._held)[-_MAX_GAP_BYTES:]  # the empty line may be cut in two
        self._at += self._held_bytes - len(tail)
        self._held = [tail]
        self._held_bytes = len(tail)
        self._skip = True


def data_of(event: bytes) -> tuple[list[bytes], bool]:
    """
    Give the data lines of an event, and whether it says that it is an error.

    Some servers write `error: {...}` where `event: error` and `data: {...}` are meant.
    """
    lines = []
    is_error = False
    for line in event.splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
        elif name == b"error" and value:
            lines.append(value)
            is_error = True
        elif name == b"event":
            is_error = is_error or value.strip() == b"error"
    return lines, is_error
