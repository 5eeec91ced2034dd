"""What a command says: on stdout what was asked for, on stderr what is wrong."""

from __future__ import annotations

import os
import shutil
import sys

PLAIN = str.maketrans("✓✗◐○│├└─→←…·—", "+x~o||`-><.--")
"""Signs for old terminals, so that a failure is still told from a success."""


def colour() -> bool:
    """Say whether to use colours: on a terminal, unless NO_COLOR or a dumb one says otherwise."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def columns(wanted: int | None = None) -> int:
    """Say how wide a line may be: what was asked for, else the terminal's columns."""
    return wanted or shutil.get_terminal_size().columns


def print_text(text: str) -> bool:
    """
    Print, whatever the terminal's character set, and until the reader has had enough.

    Returns:
        False when nobody reads any more.
    """
    try:
        sys.stdout.write(writable(text, sys.stdout.encoding or "utf-8") + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` closed the pipe; what Python would flush at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def writable(text: str, encoding: str) -> str:
    """Replace what a character set does not have: our own signs by others, all else by `?`."""
    try:
        return text.encode(encoding).decode(encoding)
    except UnicodeEncodeError:
        return text.translate(PLAIN).encode(encoding, "replace").decode(encoding)


def complain(message: object) -> None:
    """Say what is wrong, on stderr."""
    sys.stderr.write(f"instrument: {message}\n")


def tell(message: str) -> None:
    """Say how it goes, on stderr, when a person sees it: the last such line is written over."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{message}")
        sys.stderr.flush()
