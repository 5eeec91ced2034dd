"""
Base64 payloads: what stands for an image, a sound or a file in a record.

A payload over `MAX_INLINE_CHARS` becomes `<image/png, 12345 bytes, sha256 0123456789abcdef>`. The
size and the hash are those of the decoded file, so that it can be found again. URLs stay.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import final

from .run import JSON

MAX_INLINE_CHARS = 1024
"""Characters of base64 that are kept as they are."""

MAX_DEPTH = 64
"""Levels of nesting that are looked into."""

DIGEST_CHARS = 16
"""Hex digits of the hash that are kept."""

_WINDOW_BYTES = MAX_INLINE_CHARS // 2

_TYPE = r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,\s]{0,100}){0,4};base64,"
_EMBEDDED = re.compile(rf"{_TYPE}([A-Za-z0-9+/_-]{{{MAX_INLINE_CHARS},}}={{0,2}})")
_WHOLE = re.compile(rf"(?:{_TYPE})?([A-Za-z0-9+/_\r\n-]{{{MAX_INLINE_CHARS},}}={{0,2}}\s*)")

_TEXT_KEYS = frozenset(
    {"arguments", "content", "description", "input", "name", "output", "prompt", "reasoning"}
    | {"reasoning_content", "refusal", "text", "thinking", "transcript"}
)
"""Where people and models write: only a `data:` URL is a payload there, not a long word."""

_TYPE_KEYS = ("media_type", "mime_type", "mimeType")
_BY_FORMAT: Mapping[str, str] = {"mp3": "audio/mpeg", "pcm16": "audio/pcm"}
_URLSAFE = str.maketrans("-_", "+/")


@final
class Payload:
    """The size and the hash of base64 that comes in pieces, none of which is kept."""

    __slots__ = ("_hash", "_rest", "chars", "size_bytes")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._rest = ""
        self.chars = 0
        self.size_bytes = 0

    def add(self, text: str) -> None:
        """Take the next piece, cut at any character."""
        self.chars += len(text)
        joined = self._rest + text
        whole = len(joined) - len(joined) % 4
        self._rest = joined[whole:]
        self._decode(joined[:whole])

    def mark(self, media_type: str) -> str:
        """Say what was seen, and be done."""
        if self._rest:
            self._decode(self._rest + "==")
            self._rest = ""
        digest = self._hash.hexdigest()[:DIGEST_CHARS]
        return f"<{media_type}, {self.size_bytes} bytes, sha256 {digest}>"

    def _decode(self, text: str) -> None:
        try:
            data = binascii.a2b_base64(text.translate(_URLSAFE))
        except ValueError:  # not base64 after all: the text itself is what was seen
            data = text.encode("utf-8", "replace")
        self._hash.update(data)
        self.size_bytes += len(data)


def holds_payload(body: bytes) -> bool:
    """
    Tell, from the raw bytes of a JSON text and at little cost, whether it may hold a payload.

    One over the bound fills at least one of the windows that are looked at.
    """
    for start in range(0, len(body) - _WINDOW_BYTES, _WINDOW_BYTES):
        end = start + _WINDOW_BYTES
        if body.find(b" ", start, end) < 0 and body.find(b'"', start, end) < 0:
            return True
    return False


def without_payloads(value: JSON) -> JSON:
    """Copy *value*, with a marker in the place of every payload over the bound."""
    return _walk(value, "", {}, 0)


def _walk(value: JSON, key: str, siblings: Mapping[str, JSON], depth: int) -> JSON:
    if isinstance(value, str):
        return _short(value, key, siblings) if len(value) >= MAX_INLINE_CHARS else value
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {name: _walk(item, name, value, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_walk(item, key, siblings, depth + 1) for item in value]
    return value


def _short(text: str, key: str, siblings: Mapping[str, JSON]) -> str:
    whole = None if key in _TEXT_KEYS else _WHOLE.fullmatch(text)
    if whole:
        return _mark(whole[2], whole[1] or _media_type(siblings))
    if ";base64," not in text:
        return text
    return _EMBEDDED.sub(lambda found: _mark(found[2], found[1] or _media_type({})), text)


def _mark(base64: str, media_type: str) -> str:
    payload = Payload()
    payload.add("".join(base64.split()))
    return payload.mark(media_type)


def _media_type(siblings: Mapping[str, JSON]) -> str:
    for name in _TYPE_KEYS:
        said = siblings.get(name)
        if isinstance(said, str) and said:
            return said
    kind = siblings.get("format")
    if isinstance(kind, str) and 0 < len(kind) <= DIGEST_CHARS:
        return _BY_FORMAT.get(kind, f"audio/{kind}")
    return "application/octet-stream"
