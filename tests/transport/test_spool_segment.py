"""Frames of a spool file: whatever happens to the bytes, nothing raises and nothing is forged."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from instrument.transport.segment import (
    HEADER_BYTES,
    MAGIC,
    VERSION,
    Frame,
    body_of,
    framed,
    parts,
    read,
    settled_frame,
)

BODIES = st.lists(st.text(min_size=1, max_size=40).map(str.encode), min_size=1, max_size=8)


def item_frame(names: tuple[str, ...], body: bytes, count: int = 1) -> bytes:
    """Write items that are all for the same destinations."""
    pieces, size, _ = framed([names] * count, body)
    assert size == len(b"".join(pieces))
    return b"".join(pieces)


def written(bodies: list[bytes]) -> tuple[bytes, list[int]]:
    """Write items for one destination; give the file and where each item begins."""
    data, offsets = b"", []
    for body in bodies:
        offsets.append(len(data))
        data += item_frame(("a",), body)
    return data, offsets


def bodies_in(data: bytes) -> list[bytes]:
    """Give the items that are read."""
    return [body_of(part) for part in parts(data) if isinstance(part, Frame)]


@given(BODIES)
def test_there_and_back(bodies):
    """What was written is read, in order, and waits for its destination."""
    data, offsets = written(bodies)

    assert bodies_in(data) == bodies
    assert (list(read(data).waiting["a"]), read(data).damaged) == (offsets, 0)
    assert read(data).end == len(data)


@given(BODIES, st.data())
def test_cut_anywhere(bodies, draw):
    """A file that ends anywhere gives all items that are whole, and counts the torn one."""
    data, offsets = written(bodies)
    cut = draw.draw(st.integers(0, len(data)))
    ends = [*offsets[1:], len(data)]
    whole = sum(end <= cut for end in ends)

    assert bodies_in(data[:cut]) == bodies[:whole]
    assert read(data[:cut]).damaged == (cut not in {0, *ends})


@given(BODIES, st.data())
def test_flip_any_bit(bodies, draw):
    """One wrong bit costs the item it is in and no other, and makes no new one."""
    data, offsets = written(bodies)
    bit = draw.draw(st.integers(0, len(data) * 8 - 1))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    hit = sum(offset <= bit // 8 for offset in offsets) - 1

    assert bodies_in(bytes(damaged)) == [*bodies[:hit], *bodies[hit + 1 :]]
    contents = read(bytes(damaged))
    assert contents.damaged == 1 or contents.is_strange


@given(BODIES, st.binary(max_size=200), st.data())
def test_bytes_put_in_anywhere(bodies, more, draw):
    """Foreign bytes in the middle cost one item at most; those before and after are read."""
    data, offsets = written(bodies)
    at = draw.draw(st.integers(0, len(data)))
    hit = sum(offset < at for offset in offsets) - 1
    found = bodies_in(data[:at] + more + data[at:])

    assert [body for body in found if body not in bodies] == []
    assert found in (bodies, [*bodies[: max(hit, 0)], *bodies[max(hit, 0) + 1 :]])


@given(st.binary(max_size=400))
def test_garbage(data):
    """Bytes that nobody wrote are no items, and nothing raises."""
    assert bodies_in(data) == []
    assert read(MAGIC + data).waiting == {}


@given(st.integers(1, 5000))
def test_empty_pages(size):
    """Pages of zeros, as a disk leaves them after a loss of power, are no items."""
    assert bodies_in(bytes(size)) == []
    assert read(item_frame(("a",), b"x") + bytes(size)).damaged == 1


def test_payloads_pass_for_nothing():
    """A prompt that holds a spool file is one item: the magic is no UTF-8."""
    inner = item_frame(("a",), b"forged").decode("utf-8", "replace").encode()
    data = item_frame(("a",), inner)

    assert bodies_in(data[3:] + data) == [inner]


@given(st.lists(st.sampled_from([("a",), ("b",), ("a", "b")]), min_size=1, max_size=40), st.data())
def test_many_in_a_frame(names, draw):
    """Each item of a frame waits for its own destinations, at a place that no other item has."""
    pieces, size, _ = framed(names, b"x")
    data = b"".join(pieces) + b"".join(framed(names, b"y")[0])
    contents = read(data)
    places = [*range(len(names)), *range(size, size + len(names))]

    assert contents.starts == [0, size]
    for each in ("a", "b"):
        own = [place for place, of in zip(places, names * 2, strict=True) if each in of]
        assert list(contents.waiting.get(each, {})) == own
    settled = draw.draw(st.lists(st.sampled_from(places), unique=True))
    left = read(data + settled_frame("a", settled)).waiting.get("a", {})
    assert set(left) == set(contents.waiting.get("a", {})) - set(settled)


@given(st.lists(st.lists(st.one_of(st.integers(), st.text(max_size=2), st.none()), max_size=3)))
def test_strange_lists(groups):
    """A frame whose list of names is none, or promises more items than it can hold, is damaged."""
    from zlib import crc32

    payload = json.dumps(groups).encode() + b"\n"
    head = MAGIC + bytes([VERSION, 1]) + len(payload).to_bytes(4, "big")
    data = head + crc32(payload, crc32(head)).to_bytes(4, "big") + payload
    contents = read(data)
    is_right = all(
        each and type(each[0]) is int and all(isinstance(name, str) for name in each[1:])
        for each in groups
    )

    if contents.damaged:
        assert contents.waiting == {}
    else:
        assert is_right
        assert contents.total <= sum(each[0] * len(each[1:]) for each in groups if each[0] > 0)
        assert all(0 <= place < len(data) for own in contents.waiting.values() for place in own)


def test_settled():
    """What a destination has settled waits for the others alone."""
    first = item_frame(("a", "b"), b"1")
    second = item_frame(("a", "b"), b"2")
    waiting = read(first + second + settled_frame("a", [0, len(first)])).waiting

    assert waiting == {"b": {0: None, len(first): None}}


def test_nothing_without_payload():
    """A frame without payload is none, even when its checksum holds."""
    from zlib import crc32

    head = MAGIC + bytes([VERSION, 1]) + bytes(4)

    assert bodies_in(head + crc32(head).to_bytes(4, "big")) == []
    assert len(head) + 4 == HEADER_BYTES


def test_another_version():
    """A file of a newer version is told from a damaged one of ours."""
    newer = MAGIC + bytes([VERSION + 1]) + b"who knows"

    assert read(newer).is_strange
    assert not read(newer + item_frame(("a",), b"x")).is_strange
