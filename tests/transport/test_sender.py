"""What goes over the wire, and what comes back of it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
import types

import pytest

from instrument.exporters._base import Request, Response
from instrument.transport import Bounds
from instrument.transport.sender import Sender, failure, untraced
from instrument.transport.steps import Failure
from tests.transport.fakes import QUICK, Http, publish
from tests.transport.faultserver import Answer, Drip, FaultServer

LARGE = json.dumps(["x" * 5000]).encode()


@pytest.fixture
def sender():
    made = Sender(QUICK)
    yield made
    made.close()


def send(sender: Sender, server: FaultServer, body: bytes = b"[]", **headers: str):
    request = Request(server.url, body, [], headers)
    return sender.send(request, time.monotonic() + 2)


def test_headers(sender):
    """Content type, who we are, and the exporter's own headers; the reply's names in lower case."""
    with FaultServer(Answer(201, {"X-Thing": "1"}, b"hello")) as server:
        response = send(sender, server, Authorization="Bearer key")
        seen = server.requests[0]

    assert response == Response(201, {"content-length": "5", "x-thing": "1"}, b"hello")
    assert seen.method == "POST"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["user-agent"].startswith("llm-instrument")
    assert seen.headers["authorization"] == "Bearer key"
    assert "content-encoding" not in seen.headers
    assert "cookie" not in seen.headers


def test_gzip(sender):
    """A body over 1 KB is compressed, into the same bytes each time."""
    with FaultServer() as server:
        send(sender, server, LARGE)
        send(sender, server, LARGE)
        first, second = server.requests

    assert first.headers["content-encoding"] == "gzip"
    assert gzip.decompress(first.raw) == LARGE
    assert first.raw == second.raw
    assert len(first.raw) < len(LARGE) / 10


def test_no_gzip_where_it_is_not_wanted(sender):
    """An exporter may refuse compression, and a backend that answers 415 is spared it afterwards."""
    with FaultServer(Answer(), Answer(415)) as server:
        send(sender, server, LARGE, **{"Content-Encoding": "identity"})
        assert send(sender, server, LARGE).status == 200
        send(sender, server, LARGE)
        encodings = [seen.headers.get("content-encoding") for seen in server.requests]

    assert encodings == ["identity", "gzip", None, None]


def test_put(sender):
    """An exporter may use PUT."""
    with FaultServer() as server:
        sender.send(Request(server.url, b"[]", [], method="PUT"), time.monotonic() + 2)

        assert server.requests[0].method == "PUT"


def test_reply_is_bounded(sender):
    """At most 64 KiB of a reply are read."""
    with FaultServer(Answer(body=b"x" * 1_000_000)) as server:
        response = send(sender, server)

    assert len(response.body) == 65_536


def test_body_that_drips_ends_at_the_deadline(sender):
    """The deadline holds for a reply that never stops coming."""
    with FaultServer(Drip(0.02)) as server:
        began = time.monotonic()
        request = Request(server.url, b"[]", [])

        assert sender.send(request, began + 0.3) == Failure("again", "ReadTimeout")
        assert 0.25 < time.monotonic() - began < 0.45


@pytest.mark.parametrize("url", ["ftp://x/y", "no-url", "http://[::1", "http://x:port/", ""])
def test_url_that_is_not_one(sender, url):
    """A URL that cannot be used is for a person to put right, and is not repeated in the text."""
    result = sender.send(Request(url, b"[]", []), time.monotonic() + 1)

    assert isinstance(result, Failure)
    assert result.kind == "setup"


def test_header_that_is_not_one(sender):
    """So is a key with a line break in it."""
    with FaultServer() as server:
        result = send(sender, server, Authorization="Bearer key\n")

    assert isinstance(result, Failure)
    assert result.kind == "setup"
    assert "key" not in result.text


def test_proxy_that_wants_a_password():
    """407 for a tunnel is for a person to put right; any other refusal may pass."""

    class ProxyError(Exception):
        pass

    assert failure(ProxyError("407 Proxy Authentication Required")).kind == "setup"
    assert failure(ProxyError("502 Bad Gateway")).kind == "again"


def test_opentelemetry_leaves_us_alone(monkeypatch):
    """Within our own requests OpenTelemetry is told to be quiet, and afterwards no more."""
    log = []
    otel = types.ModuleType("opentelemetry.context")
    otel._SUPPRESS_INSTRUMENTATION_KEY = "secret-key"
    otel.get_current = dict
    otel.set_value = lambda key, value, context: {**context, key: value}
    otel.attach = lambda context: log.append(context) or "token"
    otel.detach = log.append
    monkeypatch.setitem(sys.modules, "opentelemetry.context", otel)

    with untraced():
        assert log == [
            {
                "secret-key": True,
                "_SUPPRESS_HTTP_INSTRUMENTATION_KEY": True,
                "suppress_instrumentation": True,
            }
        ]
    assert log[1:] == ["token"]


def test_nothing_is_imported_before_it_is_needed():
    """Importing the transport does not import httpx, nor much else that is slow."""
    code = (
        "import sys, instrument.transport;"
        "print([name for name in ('httpx', 'httpx2', 'ssl_match', 'sqlite3', 'asyncio', 'email')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


ALIAS = """
import httpx2, sys
httpx2.alias_httpx()
from tests.transport.fakes import Http, publish, conserved, QUICK
from tests.transport.faultserver import *
from instrument.transport import Transport
with FaultServer(Answer(503), Drip(), NO_REPLY, RESET) as server:
    transport = Transport([Http(server.url)], bounds=QUICK)
    ids = publish(transport, range(20))
    print(transport.shutdown(8), server.stored == ids)
    conserved(transport)
import httpx
print(httpx.Client.__module__.partition(".")[0], transport._worker.desk.sender._client)
"""


def test_works_on_httpx2():
    """Where `httpx` is an alias of httpx2, all is the same, deadlines included."""
    pytest.importorskip("httpx2", reason="httpx2 is not installed: it needs Python 3.11")
    done = subprocess.run(
        [sys.executable, "-c", ALIAS], capture_output=True, text=True, check=False
    )

    assert done.stdout.splitlines()[0].endswith("dropped=0) True"), done.stdout + done.stderr
    assert done.stdout.splitlines()[1] == "httpx2 None"


def test_log_of_a_whole_run_has_no_secrets(transport, caplog):
    """At DEBUG nothing of a key or a prompt is in our log lines."""
    caplog.set_level("DEBUG", logger="instrument")
    with FaultServer(Answer(500), Answer(401)) as server:
        made = transport(
            Http(server.url, headers={"Authorization": "Bearer SECRET"}), bounds=Bounds()
        )
        publish(made, ["PROMPT"])
        made.flush(1.0)

    assert "SECRET" not in caplog.text
    assert "PROMPT" not in caplog.text


def test_nothing_is_sent_after_the_end():
    """A request that comes late, on a thread that was slow, fails and makes no new client."""
    made = Sender(QUICK)
    with FaultServer() as server:
        assert send(made, server).status == 200
        made.close()

        assert send(made, server) == Failure("again", "the transport has ended")
        assert len(server.requests) == 1
