"""
What a backend can do to us, at the wire: nothing is lost without a count.

The numbers are the rows of the fault matrix in the design study. Each transport is asserted to be
conserved when its test ends (see `conftest.Make`).
"""

from __future__ import annotations

import itertools
import logging
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from instrument.exporters._base import Limits
from instrument.transport import Bounds
from tests.transport.fakes import QUICK, Given, Http, Local, conserved, eventually, publish, run
from tests.transport.faultserver import (
    GARBAGE,
    NO_REPLY,
    REPLY_LOST,
    RESET,
    TRUNCATED,
    Answer,
    Deaf,
    Drip,
    FaultServer,
    Hang,
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def lane(transport, name="http"):
    return conserved(transport)["lanes"][name]


@pytest.mark.parametrize("down", [0.3, 1.0])
def test_down_at_first(transport, down):
    """1, 2: a server that comes up later gets everything; the caller never waits for it."""
    port = free_port()
    made = transport(Http(f"http://127.0.0.1:{port}/runs"))
    began = time.monotonic()
    ids = publish(made, range(50))
    assert time.monotonic() - began < 0.25

    time.sleep(down)
    with FaultServer(port=port) as server:
        assert made.flush(5.0).pending == 0
        assert server.stored == ids


def test_down_for_a_while(transport):
    """2: a server that goes and comes back gets everything, and few tries while it is away."""
    with FaultServer() as server:
        made = transport(Http(server.url))
        ids = publish(made, range(30))
        made.flush()
        port, first = server.port, server.stored
    ids += publish(made, range(30, 60))
    time.sleep(0.6)
    tries = lane(made)["retried"]
    with FaultServer(port=port) as server:
        ids += publish(made, range(60, 90))
        made.flush()

        assert first + server.stored == ids
    assert 1 <= tries <= 60


def test_retry_after_is_obeyed(transport):
    """4: no request before the time that the backend named; its neighbour does not wait."""
    with FaultServer(Answer(429, {"Retry-After": "1"})) as slow, FaultServer() as quick:
        made = transport(Http(slow.url, "slow"), Http(quick.url, "quick"))
        ids = publish(made, range(20))

        assert eventually(lambda: quick.stored == ids, 0.8)
        assert eventually(lambda: lane(made, "slow")["state"] == "paused")
        made.flush()
        assert slow.stored == ids
    first, second = slow.requests
    assert second.at - first.at >= 1.0
    assert first.raw == second.raw


@pytest.mark.parametrize("value", ["Sun, 06 Nov 1994 08:49:37 GMT", "soon", "-1", None])
def test_retry_after_that_says_nothing(transport, value):
    """5, 6: a past date, garbage or no header at all: tried again by our own backoff."""
    with FaultServer(Answer(429, {"Retry-After": value} if value else {})) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(20))
        flushed = made.flush()

        assert flushed.delivered == 20
        assert server.stored == ids


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425])
def test_bursts_of_errors(transport, status):
    """7: retried until it works, the same bytes, in order."""
    with FaultServer(*[Answer(status)] * 7) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(20))
        made.flush()

        assert server.stored == ids
        assert len({seen.raw for seen in server.requests}) == 1
    assert lane(made)["retried"] == 7


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410, 501])
def test_refused_key(transport, status, caplog):
    """8, 9: the lane is parked, what it holds is kept, and one ERROR says status and URL."""
    with FaultServer(decide=lambda ids: Answer(status)) as server:
        made = transport(Http(server.url))
        publish(made, range(20))
        flushed = made.flush(2.0)

        assert (flushed.delivered, flushed.pending, flushed.dropped) == (0, 20, 0)
        assert lane(made)["state"] == "parked"
        assert len(server.requests) == 1
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 1
    assert f"HTTP {status} from {server.url}" in errors[0].getMessage()


def test_redirection_is_not_followed(transport):
    """9: neither the items nor the key go where a redirection points."""
    with FaultServer() as thief:
        with FaultServer(decide=lambda ids: Answer(307, {"Location": thief.url})) as server:
            made = transport(Http(server.url, headers={"Authorization": "Bearer key"}))
            publish(made, range(5))
            made.flush(1.0)

            assert server.requests[0].headers["authorization"] == "Bearer key"
            assert lane(made)["state"] == "parked"
        assert thief.requests == []


def test_too_large(transport):
    """10, 11: a batch is halved until it fits; an item that never does is dropped."""

    def decide(ids):
        return Answer(413) if len(ids) > 6 or "13" in ids else Answer()

    with FaultServer(decide=decide) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(100))
        made.flush()

        assert server.stored == [each for each in ids if each != "13"]
        assert len(server.requests) <= 200
    assert lane(made)["dropped"] == {"too_large": 1}


def test_one_bad_item(transport):
    """12: one bad item among fifty costs itself and a few requests."""
    with FaultServer(decide=lambda ids: Answer(400 if "31" in ids else 200)) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(50))
        made.flush()

        assert server.stored == [each for each in ids if each != "31"]
    assert lane(made)["dropped"] == {"rejected": 1}


def test_all_items_bad(transport):
    """13: a backend that refuses everything is soon left alone."""
    with FaultServer(decide=lambda ids: Answer(422)) as server:
        made = transport(Http(server.url))
        publish(made, range(100))
        made.flush()

        assert len(server.requests) <= 12
    assert lane(made)["dropped"] == {"rejected": 100}


def test_dripping_reply(transport):
    """14: a reply that drips ends at the total deadline, not with its last byte."""
    with FaultServer(Drip()) as server:
        made = transport(Http(server.url))
        began = time.monotonic()
        ids = publish(made, range(5))
        made.flush()

        assert QUICK.request_deadline <= time.monotonic() - began < QUICK.request_deadline + 0.8
        assert server.stored == ids


def test_server_that_reads_nothing(transport):
    """15: a large body that nobody reads ends at a deadline too."""
    with FaultServer(Deaf()) as server:
        made = transport(Http(server.url, headers={"Content-Encoding": "identity"}))
        made.publish(Given(run("x" * 3_000_000)))
        flushed = made.flush(1.0)

        assert flushed.pending == 1
        assert lane(made)["retried"] >= 1


@pytest.mark.parametrize("fault", [RESET, NO_REPLY, GARBAGE, TRUNCATED], ids=repr)
def test_broken_replies(transport, fault):
    """16: a reset, no reply, garbage and half a reply are all tried again."""
    with FaultServer(fault, fault) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(20))
        made.flush()

        assert server.stored == ids
    assert lane(made)["retried"] == 2


def test_hanging_server(transport):
    """17: a request that gets no reply ends by its deadline and is tried again."""
    with FaultServer(Hang()) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(20))
        made.flush()

        assert server.stored == ids
    assert lane(made)["retried"] == 1


def test_stale_connection(transport):
    """18: a connection that the server closed while it was idle costs nothing."""
    with FaultServer(Answer(close=True), Answer(close=True)) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(5))
        made.flush()
        time.sleep(0.05)
        ids += publish(made, range(5, 10))
        made.flush()

        assert server.stored == ids
        assert server.connections == 2


def test_connection_is_kept(transport):
    """All requests of a lane go over one connection, while that lives."""
    with FaultServer() as server:
        made = transport(Http(server.url, limits=Limits(max_items=5)))
        publish(made, range(50))
        made.flush()

        assert len(server.requests) >= 10
        assert server.connections == 1


def test_unknown_name(transport):
    """19: a name that does not resolve is like a server that is down."""
    made = transport(Http("http://backend.invalid/runs"))
    publish(made, range(5))
    flushed = made.flush(1.0)

    assert flushed.pending == 5
    assert lane(made)["retried"] >= 1


def test_slow_name(transport, monkeypatch):
    """19: a resolver that hangs is given up at the deadline, and delays no neighbour."""
    real = socket.getaddrinfo
    release = threading.Event()

    def slow(host, *args, **kwargs):
        if host == "slow.invalid":
            release.wait(10)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with FaultServer() as server:
        made = transport(Http("http://slow.invalid/runs", "slow"), Http(server.url, "quick"))
        ids = publish(made, range(5))

        assert eventually(lambda: server.stored == ids, 1.0)
        assert eventually(lambda: lane(made, "slow")["retried"] >= 1, 3.0)
        assert lane(made, "slow")["last_error"] == "no reply in time"
        release.set()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    try:
        subprocess.run([*command, *subject, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl command to make a certificate")
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_self_signed_certificate(transport, certificate, caplog):
    """20: a certificate that cannot be verified parks the lane; nothing is sent unverified."""
    with FaultServer(tls=serving(certificate)) as server:
        made = transport(Http(server.url.replace("127.0.0.1", "localhost")))
        publish(made, range(5))
        made.flush(1.5)

        assert server.requests == []
        assert lane(made)["state"] == "parked"
    assert lane(made)["queued"] == 5
    assert "certificate" in caplog.text


@pytest.mark.parametrize(("host", "is_good"), [("localhost", True), ("127.0.0.1", False)])
def test_certificate_authority_of_the_environment(
    transport, certificate, monkeypatch, host, is_good
):
    """20: SSL_CERT_FILE is honoured, and the name in the certificate has to be the host's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with FaultServer(tls=serving(certificate)) as server:
        made = transport(Http(server.url.replace("127.0.0.1", host)))
        ids = publish(made, range(5))
        made.flush(1.5)

        assert server.stored == (ids if is_good else [])
        assert lane(made)["state"] == ("closed" if is_good else "parked")


def test_proxy_of_the_environment(transport, monkeypatch):
    """21: HTTP_PROXY is honoured; a proxy that wants a password parks the lane."""
    with FaultServer(Answer(407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
        made = transport(Http("http://backend.invalid/runs"))
        publish(made, range(5))
        made.flush(1.0)

        assert proxy.requests[0].path == "http://backend.invalid/runs"
        assert lane(made)["state"] == "parked"
        assert "secret" not in str(made.stats())


def test_one_hung_backend_among_five(transport):
    """49: a backend that hangs and one that is down delay none of the others."""
    with FaultServer(*[Hang()] * 50) as hung, FaultServer() as b, FaultServer() as c:
        local = Local()
        made = transport(
            Http(hung.url, "hung"),
            Http(f"http://127.0.0.1:{free_port()}/", "down"),
            Http(b.url, "b"),
            Http(c.url, "c"),
            local,
        )
        ids = publish(made, range(300))

        assert eventually(lambda: b.stored == c.stored == local.ids == ids, 0.6)
        assert lane(made, "hung")["delivered"] == 0


def test_clock_that_jumps(transport, monkeypatch):
    """50: a wall clock that jumps by a day changes neither waits nor ages."""
    with FaultServer(Answer(503), Answer(503)) as server:
        made = transport(Http(server.url))
        real = time.time
        jumps = itertools.cycle([86_400, -86_400])
        monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
        ids = publish(made, range(10))
        made.flush()

        assert server.stored == ids


def test_reply_that_is_lost(transport):
    """52: what is sent again has the same ids and the same bytes, so that a backend can tell."""
    with FaultServer(REPLY_LOST) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(20))
        made.flush()

        assert server.stored == ids + ids
        assert server.requests[0].raw == server.requests[1].raw
    assert lane(made)["delivered"] == 20


def test_full_lane_drops_the_oldest(transport):
    """A lane whose backend is down keeps the newest within its bounds, and its neighbour all."""
    local = Local()
    bounds = Bounds(queue_events=200, flush_interval=0.02, backoff_cap=0.1)
    port = free_port()
    made = transport(Http(f"http://127.0.0.1:{port}/runs"), local, bounds=bounds)
    ids = []
    for start in range(0, 1000, 100):
        ids += publish(made, range(start, start + 100))
        assert eventually(lambda: local.ids == ids)  # noqa: B023 - called at once
    assert lane(made)["dropped"] == {"queue_full": 800}

    with FaultServer(port=port) as server:
        made.flush()
        assert server.stored[-100:] == ids[-100:]
        assert len(server.stored) == 200
