"""The server's process: its address, its end, and what it says when it cannot begin."""

from __future__ import annotations

import io
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from instrument import viewer

ROOT = Path(__file__).resolve().parents[2]
MISSING = """
import sys
sys.modules["uvicorn"] = None
from instrument import cli
sys.exit(cli.main(["view", "--no-browser", "--store", sys.argv[1]]))
"""


@pytest.fixture
def begun(path):
    """Start `instrument view` over a store that is not there yet."""
    pytest.importorskip("uvicorn", reason="the extra [view] is not installed")
    command = [sys.executable, "-m", "instrument", "view", "--no-browser", "--store", str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(path)
        yield process, process.stdout.readline().strip()
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_from_address_to_end(begun, number):
    """The printed address opens the page, and Ctrl-C ends the server quietly."""
    process, url = begun
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", url)

    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(url, timeout=10) as page:
        assert b"No runs yet" in page.read()
        assert "token" not in page.url
    process.send_signal(number)

    assert process.wait(10) == (0 if number == signal.SIGINT else -signal.SIGTERM)
    assert process.stderr.read() == ""


def test_only_this_machine(begun):
    """The socket is bound to the loopback interface, and refuses who has no token."""
    _, url = begun
    port = int(url.split(":")[2].split("/")[0])

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)

    with refused.value:
        assert refused.value.code == 403
    with socket.socket() as other:
        other.settimeout(1)
        assert other.connect_ex(("127.0.0.2", port)) != 0


def test_port_is_taken(path):
    """A port that cannot be had is said in a sentence."""
    pytest.importorskip("uvicorn", reason="the extra [view] is not installed")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(viewer.ViewError, match=f"port {port} cannot be had"):
            viewer.serve(path, port=port, open_browser=False, out=io.StringIO())


@pytest.mark.parametrize("port", [-1, 65_536, 10**9])
def test_no_such_port(path, port):
    """A number that is no port is said in a sentence."""
    pytest.importorskip("uvicorn", reason="the extra [view] is not installed")
    with pytest.raises(viewer.ViewError, match="from 0 to 65535"):
        viewer.serve(path, port=port, open_browser=False, out=io.StringIO())


def test_missing_extra(path):
    """Without its packages the command says what to install, and ends with 1."""
    done = subprocess.run(
        [sys.executable, "-c", MISSING, str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert 'pip install "llm-instrument[view]"' in done.stderr


def test_warm(path, write, story):
    """What the first page shows is added up beforehand, if there is a store that can be read."""
    source = pytest.importorskip("instrument.viewer.source").Source(path)
    source.warm()
    write(story.run("a", tags=("t",)))
    source.warm()
    path.write_bytes(b"no database" * 100)

    source.warm()

    assert source.values("tag") == ["t"]


class Browser:
    """A browser that notes what it is to open."""

    def __init__(self, basename):
        self.basename = basename
        self.opened = []

    def open(self, url):
        self.opened.append(url)


@pytest.mark.parametrize(("name", "opened"), [("firefox", ["http://x"]), ("w3m", [])])
def test_browsers(name, opened):
    """The page is opened, unless that would take the terminal's place."""
    server = pytest.importorskip("instrument.viewer.server", reason="[view] is not installed")
    browser = Browser(name)

    server.show("http://x", lambda: browser)

    assert browser.opened == opened
