"""
Random bytes for ids, without giving the interpreter away for each.

A draw from the system lets other threads run, and under a busy application it takes milliseconds
until the worker has its turn again. So bytes are drawn for many ids at once.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final, final

ID_BYTES: Final = 16
"""Bytes of one id."""

DRAWN_IDS: Final = 256
"""Ids for which bytes are drawn at a time."""


@final
class Entropy:
    """
    Give 16 random bytes for each call, from any thread.

    A forked child draws its own: else its ids would be its parent's.
    """

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._pid = os.getpid()

    def __call__(self) -> bytes:
        """Take the next 16 bytes."""
        pid = os.getpid()
        if pid != self._pid:
            self._pieces, self._pid = deque(), pid
        try:
            return self._pieces.popleft()
        except IndexError:  # two threads may come here at once, and both draw
            drawn = os.urandom(ID_BYTES * DRAWN_IDS)
            starts = range(ID_BYTES, len(drawn), ID_BYTES)
            self._pieces.extend([drawn[start : start + ID_BYTES] for start in starts])
            return drawn[:ID_BYTES]
