"""
How items lie in a spool file: framed, checked, and read back whatever happened to the file. No I/O.

A file is a row of frames, each a header and a payload in UTF-8. The header begins with two bytes
that UTF-8 never has, so no payload can pass for a frame, and after damage the next frame is found
again. The checksum covers header and payload, and a frame without payload does not exist, so
neither flipped bits nor empty pages of a disk make an item.

Kind    | payload
--------|-------------------------------------------------------------------------
items   | how many stand there one after the other for the same destinations, and the names of
        | these, group by group, a JSON list: `[[2,"a"],[1,"a","b"]]`; a line feed; the items
settled | name of a destination, and the places of the items it needs no more: a JSON list

The place of an item is the offset of its frame plus its number in there: no two have the same,
because a frame is longer than its items are many. A state that changes is never written over: that
an item is settled is one more frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias, final
from zlib import crc32

import orjson

MAGIC = b"\xf5\xff"
VERSION = 3
"""Number of all that is said here, and of the order of fields in `packed`: another is another number."""

ITEMS = 1
SETTLED = 2

_HEAD = struct.Struct(">2sBBI")
"""Magic, version, kind, length of the payload in bytes."""

_CRC = struct.Struct(">I")
HEADER_BYTES = _HEAD.size + _CRC.size


@final
@dataclass(frozen=True, slots=True)
class Frame:
    """One intact frame, and where it is in its file."""

    kind: int
    offset: int
    payload: bytes

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + HEADER_BYTES + len(self.payload)


@final
@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of a file in which no frame is intact."""

    offset: int
    end: int


Names: TypeAlias = "tuple[str, ...]"
"""The destinations of an item."""

Groups: TypeAlias = "list[tuple[int, Names]]"
"""How many items stand one after the other for the same destinations, and these, in order."""

Framed: TypeAlias = "tuple[tuple[bytes, bytes], int, Groups]"
"""A frame in two pieces, which need not be copied to become one, its size in bytes, and what it holds."""

Part: TypeAlias = "Frame | Gap"


@final
@dataclass(slots=True)
class Contents:
    """
    What a file holds.

    Attributes:
        waiting: For each destination the places of the items that it still waits for, in order.
        starts: The offsets of the frames that hold items.
        damaged: Stretches of the file that are lost.
        end: Where the last intact frame ends.
        is_strange: It was written by another version, and nothing in it is to be touched.
    """

    waiting: dict[str, dict[int, None]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    damaged: int = 0
    end: int = 0
    is_strange: bool = False

    @property
    def total(self) -> int:
        """How many items wait, each counted for each of its destinations."""
        return sum(map(len, self.waiting.values()))


def framed(names: Sequence[Names], body: bytes) -> Framed:
    """Frame items; *names* are the destinations of each."""
    groups = [(len(list(same)), each) for each, same in groupby(names)]
    listed = [(count, *each) for count, each in groups]
    prefix = orjson.dumps(listed, option=orjson.OPT_APPEND_NEWLINE)
    head = _HEAD.pack(MAGIC, VERSION, ITEMS, len(prefix) + len(body))
    crc = crc32(body, crc32(prefix, crc32(head)))
    first = b"".join((head, _CRC.pack(crc), prefix))
    return (first, body), len(first) + len(body), groups


def settled_frame(name: str, places: Sequence[int]) -> bytes:
    """Frame the word that a destination needs these items no more."""
    payload = orjson.dumps([name, *places])
    head = _HEAD.pack(MAGIC, VERSION, SETTLED, len(payload))
    return b"".join((head, _CRC.pack(crc32(payload, crc32(head))), payload))


def body_of(frame: Frame) -> bytes:
    """Give the items in a frame of items."""
    return frame.payload.partition(b"\n")[2]


def size_at(head: bytes) -> int:
    """Say how long the frame is that begins with *head*, by its own word; 0 when it is none."""
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        return 0
    return HEADER_BYTES + int(_HEAD.unpack_from(head)[3])


def frame_at(data: bytes, offset: int) -> Frame | None:
    """Read the frame that begins at *offset*, if it is intact."""
    start = offset + HEADER_BYTES
    if start > len(data):
        return None
    magic, version, kind, length = _HEAD.unpack_from(data, offset)
    if (magic, version) != (MAGIC, VERSION) or not 0 < length <= len(data) - start:
        return None
    payload = data[start : start + length]
    (crc,) = _CRC.unpack_from(data, offset + _HEAD.size)
    if crc32(payload, crc32(data[offset : offset + _HEAD.size])) != crc:
        return None
    return Frame(kind, offset, payload)


def parts(data: bytes) -> Iterator[Part]:
    """Read all that is intact, and say what is not; never raises."""
    offset = 0
    while offset < len(data):
        frame = frame_at(data, offset)
        if frame is None:
            frame = _next(data, offset + 1)
            yield Gap(offset, len(data) if frame is None else frame.offset)
        if frame is None:
            return
        yield frame
        offset = frame.end


def _next(data: bytes, offset: int) -> Frame | None:
    """Find the first intact frame from *offset* on."""
    offset = data.find(MAGIC, offset)
    while offset >= 0:
        frame = frame_at(data, offset)
        if frame is not None:
            return frame
        offset = data.find(MAGIC, offset + 1)
    return None


def read(data: bytes) -> Contents:
    """Say what a file holds; never raises."""
    contents = Contents()
    for part in parts(data):
        if isinstance(part, Frame) and _note(part, contents):
            contents.end = part.end
        else:
            contents.damaged += 1
    if not contents.end and data.startswith(MAGIC) and data[2:3] not in {b"", bytes([VERSION])}:
        return Contents(is_strange=True)
    contents.waiting = {name: offsets for name, offsets in contents.waiting.items() if offsets}
    return contents


def _note(frame: Frame, contents: Contents) -> bool:
    """Take note of a frame; False when its checksum holds and its content is none of ours."""
    try:
        _READERS[frame.kind](frame, contents)
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _note_items(frame: Frame, contents: Contents) -> None:
    place = frame.offset
    found: list[tuple[str, range]] = []
    for count, *names in orjson.loads(frame.payload.partition(b"\n")[0]):
        if not all(isinstance(name, str) for name in names):
            raise ValueError("these are no names")
        found += [(name, range(place, place + count)) for name in names]
        place += count
    if place > frame.end:
        raise ValueError("so many items are not in there")
    for name, places in found:
        contents.waiting.setdefault(name, {}).update(dict.fromkeys(places))
    contents.starts.append(frame.offset)


def _note_settled(frame: Frame, contents: Contents) -> None:
    name, *places = orjson.loads(frame.payload)
    waiting = contents.waiting.get(name, {})
    for place in places:
        waiting.pop(place, None)


_READERS = {ITEMS: _note_items, SETTLED: _note_settled}
