"""The local web page over the store; its packages are the extra `[view]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

PACKAGES = frozenset({"starlette", "uvicorn", "jinja2"})

REMEDY = 'the page needs a few packages more: pip install "llm-instrument[view]"'


class ViewError(Exception):
    """The page cannot be served; the sentence says what to do."""


def serve(
    store_path: str | Path,
    *,
    port: int = 0,
    open_browser: bool = True,
    out: TextIO | None = None,
) -> int:
    """
    Serve the page on 127.0.0.1 until Ctrl-C.

    Args:
        store_path: The store; it need not be there yet.
        port: Where to listen; 0 for any free one.
        open_browser: Whether to open the page in the browser of this machine.
        out: Where to print the page's address, with its token; else standard output.

    Returns:
        The exit code, 0.

    Raises:
        ViewError: A package is missing, or the port is taken.
    """
    try:
        from . import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        raise ViewError(REMEDY) from error
    try:
        listener = server.bind(port)
    except OSError as error:
        sentence = f"port {port} cannot be had ({error.strerror}): name another, or none"
        raise ViewError(sentence) from error
    return server.run(Path(store_path), listener, open_browser, out or sys.stdout)
