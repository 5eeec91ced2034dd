"""Text in a terminal: what is safe to print there, and how many columns it takes."""

from __future__ import annotations

import re
from itertools import accumulate
from unicodedata import bidirectional, category, east_asian_width

MAX_CHARS = 2_000
"""How much of a text is looked at; no terminal is wider."""

_SPACES = re.compile(r"\s+")
_DANGEROUS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls, among them the escape that begins every command
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # these turn the direction of writing
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"  # these are not seen at all
    "\ud800-\udfff]"  # these cannot be written
)
_ISOLATE, _POP = "\u2068", "\u2069"
_RIGHT_TO_LEFT = frozenset({"R", "AL"})


def safe(text: str) -> str:
    """Make one line of the first characters of a text, that does nothing but stand there."""
    return _DANGEROUS.sub(_symbol, _SPACES.sub(" ", text[:MAX_CHARS])).strip()


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return "�" if code < 0xA0 or 0xD800 <= code < 0xE000 else ""


def width_of(text: str) -> int:
    """Count the columns that a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if east_asian_width(char) in {"W", "F"} else 1


def cut(text: str, width: int) -> str:
    """Cut a text to so many columns, with an ellipsis at the end where something is missing."""
    if width_of(text) <= width:
        return text
    fitting = sum(end < width for end in accumulate(map(_width, text)))
    return text[:fitting].rstrip() + "…" * (width > 0)


def isolated(text: str) -> str:
    """Keep words that run from right to left from turning the rest of the line around."""
    if text.isascii() or not any(bidirectional(char) in _RIGHT_TO_LEFT for char in text):
        return text
    return f"{_ISOLATE}{text}{_POP}"
