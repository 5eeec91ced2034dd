"""
Keys and tokens are masked wherever they stand in what is recorded, before any destination.

The shapes are those that providers document or scanners agree on. All have a long unbroken run of
letters and digits, which most text has not: looking for one first takes a tenth of the time. Then
each has a hint that is looked for before its pattern.
"""

from __future__ import annotations

import re

SHAPES: tuple[tuple[bytes, bytes, bytes], ...] = (
    # name, hint, pattern
    (b"openai-key", b"sk-", rb"sk-(?:proj-|svcacct-|admin-|ant-|or-v1-|lf-)?[A-Za-z0-9_-]{20,}"),
    (b"aws-key", b"AKIA", rb"AKIA[0-9A-Z]{16}\b"),
    (b"aws-key", b"ASIA", rb"ASIA[0-9A-Z]{16}\b"),
    (b"google-key", b"AIza", rb"AIza[0-9A-Za-z_-]{35}"),
    (b"google-token", b"ya29.", rb"ya29\.[0-9A-Za-z_-]{20,}"),
    (b"github-token", b"gh", rb"gh[pousr]_[0-9A-Za-z]{36,}"),
    (b"github-token", b"github_pat_", rb"github_pat_[0-9A-Za-z_]{40,}"),
    (b"gitlab-token", b"glpat-", rb"glpat-[0-9A-Za-z_-]{20,}"),
    (b"slack-token", b"xox", rb"xox[abeoprs]-[0-9A-Za-z-]{16,}"),
    (b"huggingface-token", b"hf_", rb"hf_[0-9A-Za-z]{30,}"),
    (b"xai-key", b"xai-", rb"xai-[0-9A-Za-z_-]{40,}"),
    (b"perplexity-key", b"pplx-", rb"pplx-[0-9A-Za-z]{40,}"),
    (b"nvidia-key", b"nvapi-", rb"nvapi-[0-9A-Za-z_-]{40,}"),
    (b"replicate-token", b"r8_", rb"r8_[0-9A-Za-z]{30,}"),
    (b"langsmith-key", b"lsv2_", rb"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    (b"sendgrid-key", b"SG.", rb"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}"),
    (b"groq-key", b"gsk_", rb"gsk_[0-9A-Za-z]{40,}"),
    (b"stripe-key", b"k_live_", rb"[rs]k_live_[0-9A-Za-z]{20,}"),
    (b"npm-token", b"npm_", rb"npm_[0-9A-Za-z]{36,}"),
    (b"pypi-token", b"pypi-", rb"pypi-[0-9A-Za-z_-]{50,}"),
    (b"jwt", b"eyJ", rb"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}"),
    (b"bearer-token", b"earer ", rb"(?<=[Bb]earer )[0-9A-Za-z._~+/-]{20,}=*"),
    (
        b"private-key",
        b"PRIVATE KEY-----",
        rb"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^\"]{0,20000}?-----END [A-Z ]{0,30}PRIVATE KEY-----",
    ),
)
"""What a secret looks like, in text as in the text of JSON: none holds a quote or a backslash."""

_BEFORE = rb"(?:(?<![A-Za-z0-9_])|(?<=\\[nrtbf])|(?<=\\u00[01][0-9a-fA-F]))"
"""
What a secret stands behind: no letter, unless that is the end of an escape in the text of JSON.

JSON inside JSON doubles the backslash of an escape, and the last one still stands there.
"""

_SHAPES = tuple(
    (b"<" + name + b">", hint, re.compile(_BEFORE + shape)) for name, hint, shape in SHAPES
)


RUN_BYTES = 20
"""Every secret of these shapes has as many letters, digits, `_` or `-` in a row, in bytes."""

_RUN = b"x" * RUN_BYTES
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_FLATTEN = bytes(ord("x") if byte in _LETTERS else ord(" ") for byte in range(256))


def mask(data: bytes) -> bytes:
    """Replace every secret in *data*, a text or a JSON text in UTF-8, by its kind in brackets."""
    if _RUN not in data.translate(_FLATTEN):
        return data
    for label, hint, shape in _SHAPES:
        if hint in data:
            data = shape.sub(label, data)
    return data


def mask_text(text: str) -> str:
    """Do what `mask` does, for a string."""
    return mask(text.encode("utf-8", "replace")).decode()
