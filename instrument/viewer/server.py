"""The server's process: a socket on the loopback interface, the address, the browser."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TextIO

import uvicorn

from .app import make_app
from .door import Door
from .source import Source

HOST = "127.0.0.1"
TOKEN_BYTES = 32
EXIT_SECONDS = 2
"""How long answers that are on their way may take after Ctrl-C."""

IN_TERMINAL = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})
"""Browsers that would take the place of what the terminal shows."""


def bind(port: int) -> socket.socket:
    """
    Listen on the loopback interface.

    Raises:
        OSError: The port is taken, or not ours to take.
    """
    # Without the protocol's name, asyncio leaves Nagle's algorithm on: 40 ms for each page.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OverflowError as error:
        listener.close()
        raise OSError(0, "ports go from 0 to 65535") from error
    except OSError:
        listener.close()
        raise
    return listener


def run(path: Path, listener: socket.socket, open_browser: bool, out: TextIO) -> int:
    """Serve until Ctrl-C, and close the socket."""
    port = listener.getsockname()[1]
    door = Door(token=secrets.token_urlsafe(TOKEN_BYTES), cookie=f"instrument_{port}")
    url = f"http://{HOST}:{port}/?token={door.token}"
    # The access log would hold the token, and whatever is searched for.
    source = Source(path)
    config = uvicorn.Config(
        make_app(source, door),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=EXIT_SECONDS,
    )
    print(f"{path}\n{url}\nCtrl-C to stop", file=out, flush=True)
    threading.Thread(target=source.warm, daemon=True).start()
    if open_browser:
        threading.Thread(target=show, args=(url,), daemon=True).start()
    with closing(listener), suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def show(url: str, choose: Callable[[], webbrowser.BaseBrowser] = webbrowser.get) -> None:
    """Open the page, unless the only browser is one for the terminal."""
    with suppress(webbrowser.Error):
        browser = choose()
        if getattr(browser, "basename", "") not in IN_TERMINAL:
            browser.open(url)
