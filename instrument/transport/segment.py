"""
How items lie in a spool file: framed, checked, and read back whatever happened to the file. No I/O.

A file is a row of frames, each a header and a payload in UTF-8. The header begins with two bytes
that UTF-8 never has, so no payload can pass for a frame, and after damage the next frame is found
again. The checksum covers header and payload, and a frame without payload does not exist, so
neither flipped bits nor empty pages of a disk make an item.

Kind    | payload
--------|-------------------------------------------------------------------------
item    | names of the destinations it is for, a JSON list; a line feed; the item
settled | name of a destination, and offsets of the items it needs no more: a JSON list

A state that changes is never written over: that an item is settled is one more frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias, final
from zlib import crc32

import orjson

MAGIC = b"\xf5\xff"
VERSION = 1
ITEM = 1
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


Framed: TypeAlias = "tuple[bytes, bytes, int]"
"""A frame in two pieces, which need not be copied to become one, and its size in bytes."""

Part: TypeAlias = "Frame | Gap"


@final
@dataclass(slots=True)
class Contents:
    """
    What a file holds.

    Attributes:
        waiting: For each destination the offsets of the items that it still waits for, in order.
        damaged: Stretches of the file that are lost.
        end: Where the last intact frame ends.
        is_strange: It was written by another version, and nothing in it is to be touched.
    """

    waiting: dict[str, dict[int, None]] = field(default_factory=dict)
    damaged: int = 0
    end: int = 0
    is_strange: bool = False

    @property
    def total(self) -> int:
        """How many items wait, each counted for each of its destinations."""
        return sum(map(len, self.waiting.values()))


def framed(names: tuple[str, ...], body: bytes) -> Framed:
    """Frame an item for these destinations."""
    prefix = _prefix(names)
    head = _HEAD.pack(MAGIC, VERSION, ITEM, len(prefix) + len(body))
    crc = crc32(body, crc32(prefix, crc32(head)))
    first = b"".join((head, _CRC.pack(crc), prefix))
    return first, body, len(first) + len(body)


def settled_frame(name: str, offsets: Sequence[int]) -> bytes:
    """Frame the word that a destination needs these items no more."""
    payload = orjson.dumps([name, *offsets])
    head = _HEAD.pack(MAGIC, VERSION, SETTLED, len(payload))
    return b"".join((head, _CRC.pack(crc32(payload, crc32(head))), payload))


@lru_cache(maxsize=64)
def _prefix(names: tuple[str, ...]) -> bytes:
    return orjson.dumps(names) + b"\n"


def body_of(frame: Frame) -> bytes:
    """Give the item in an item's frame."""
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


def _note_item(frame: Frame, contents: Contents) -> None:
    names = orjson.loads(frame.payload.partition(b"\n")[0])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError("this is no list of names")
    for name in names:
        contents.waiting.setdefault(name, {})[frame.offset] = None


def _note_settled(frame: Frame, contents: Contents) -> None:
    name, *offsets = orjson.loads(frame.payload)
    waiting = contents.waiting.get(name, {})
    for offset in offsets:
        waiting.pop(offset, None)


_READERS = {ITEM: _note_item, SETTLED: _note_settled}
