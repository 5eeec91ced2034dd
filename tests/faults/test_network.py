"""Faults of the network and of backends, at the wire: what `tests/transport/test_faults.py` lacks."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.transport.fakes import QUICK, Given, Http, Local, conserved, eventually, publish, run
from tests.transport.faultserver import Answer, FaultServer, Hang


def lane(transport, name="http"):
    return conserved(transport)["lanes"][name]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Give a port that answers no SYN any more: the queue of its listener is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            idle = stack.enter_context(socket.socket())
            idle.setblocking(False)
            idle.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_caller_never_waits(transport):
    """1: whatever the backend does, recording takes no 5 ms, and all of it arrives later."""
    with black_hole() as port:
        made = transport(Http(f"http://127.0.0.1:{port}/runs"))
        took = []
        for number in range(200):
            began = time.perf_counter()
            made.publish(Given(run(number)))
            took.append(time.perf_counter() - began)
            time.sleep(0.002)
    with FaultServer(port=port) as server:
        made.flush()

        assert server.stored == [str(number) for number in range(200)]
    assert sorted(took)[-3] < 0.005  # two may have met a machine that was busy


def test_black_hole(transport):
    """3: a connection that nobody answers ends at its timeout and is tried again, delaying none."""
    local = Local()
    with black_hole() as port:
        made = transport(Http(f"http://127.0.0.1:{port}/runs"), local)
        ids = publish(made, range(30))

        assert eventually(lambda: local.ids == ids, 1.0)
        assert eventually(lambda: lane(made)["retried"] >= 1, 3.0)
        assert "Connect" in lane(made)["last_error"]
        assert lane(made)["queued"] == 30
    with FaultServer(port=port) as server:
        made.flush()

        assert server.stored == ids


def test_retry_after_that_is_a_date(transport):
    """5: a date is obeyed, by the server's own clock, which may be wrong by days."""
    dates = {
        "Date": "Sun, 06 Nov 1994 08:49:36 GMT",
        "Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT",
    }
    with FaultServer(Answer(429, dates)) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(20))
        made.flush()

        assert server.stored == ids
        assert server.requests[1].at - server.requests[0].at >= 1.0


def test_backend_that_is_half_open(transport):
    """7: a backend that is down gets one request at a time, and one that is up again gets all."""
    with FaultServer(*[Answer(500)] * 9) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(350))
        assert eventually(lambda: lane(made)["state"] in {"open", "half_open"})
        made.flush()

        assert server.stored == ids
        assert all(seen.ids == ids[:100] for seen in server.requests[:10])


def test_key_that_is_put_right(transport, caplog):
    """8: a refused key costs nothing within the lane's bounds, and is tried until it is right."""
    bounds = replace(QUICK, probe_interval=0.2, queue_events=40)
    with FaultServer(*[Answer(401)] * 3) as server:
        made = transport(Http(server.url), bounds=bounds)
        ids = publish(made, range(30))
        assert eventually(lambda: lane(made)["state"] == "parked")
        ids += publish(made, range(30, 60))
        assert eventually(lambda: lane(made)["delivered"] == 40)

        assert lane(made)["dropped"] == {"queue_full": 20}
        assert len(server.stored) == 40
        assert set(server.stored) < set(ids)
        first, second, *_ = server.requests
        assert second.at - first.at >= 0.2
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 1


@pytest.mark.parametrize("bad", [0, 24, 49])
def test_rounds_to_the_bad_item(transport, bad):
    """12: one bad item among fifty is found with two requests a round, log2(50) rounds."""
    with FaultServer(decide=lambda ids: Answer(422 if str(bad) in ids else 200)) as server:
        made = transport(Http(server.url))
        ids = publish(made, range(50))
        made.flush()

        assert server.stored == [each for each in ids if each != str(bad)]
        assert len(server.requests) <= 1 + 2 * math.ceil(math.log2(50))
    assert lane(made)["dropped"] == {"rejected": 1}


@pytest.fixture(scope="module")
def expired(tmp_path_factory) -> Path:
    """Make a certificate whose time is over."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key, request, both = (str(folder / name) for name in ("key.pem", "request.pem", "both.pem"))
    (folder / "more").write_text("subjectAltName=DNS:localhost")
    new = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    sign = ["x509", "-req", "-days", "-1", "-extfile", str(folder / "more")]
    try:
        for command in (
            [*new, "-keyout", key, "-out", request],
            [*sign, "-in", request, "-signkey", key, "-out", both],
        ):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("needs an openssl command that makes expired certificates")
    path = Path(both)
    path.write_bytes(path.read_bytes() + Path(key).read_bytes())
    return path


def test_expired_certificate(transport, expired, monkeypatch, caplog):
    """20: a certificate that was good once parks the lane; nothing is sent, nothing is lost."""
    monkeypatch.setenv("SSL_CERT_FILE", str(expired))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired)
    with FaultServer(tls=context) as server:
        made = transport(Http(server.url.replace("127.0.0.1", "localhost")))
        publish(made, range(5))
        made.flush(1.0)

        assert (server.requests, lane(made)["state"]) == ([], "parked")
    assert lane(made)["queued"] == 5
    assert "expired" in caplog.text


@pytest.mark.parametrize(("status", "state"), [(407, "parked"), (502, None), (403, None)])
def test_proxy_that_refuses_a_tunnel(transport, monkeypatch, caplog, status, state):
    """21: CONNECT that is refused may pass; 407 is for a person; no log has the credentials."""
    caplog.set_level("DEBUG")
    with FaultServer(decide=lambda ids: Answer(status)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{proxy.port}")
        made = transport(Http("https://backend.invalid/runs", headers={"Authorization": "s3cret"}))
        publish(made, range(5))
        made.flush(0.6)

        assert {seen.method for seen in proxy.requests} == {"CONNECT"}
        assert {seen.path for seen in proxy.requests} == {"backend.invalid:443"}
        assert not any("authorization" in seen.headers for seen in proxy.requests)
        assert lane(made)["queued"] == 5
        assert state in {None, lane(made)["state"]}
        assert (len(proxy.requests) == 1) == (state == "parked")
    ours = "".join(each.getMessage() for each in caplog.records if each.name == "instrument")
    assert not [word for word in ("hunter2", "s3cret") if word in ours + str(made.stats())]


def test_dead_one_among_five_stays_alone(transport):
    """49: four backends get all of a long stream while the fifth hangs, each with its own books."""
    with contextlib.ExitStack() as stack:
        hung = stack.enter_context(FaultServer(*[Hang()] * 50))
        others = [stack.enter_context(FaultServer()) for _ in range(4)]
        servers = [others[0], hung, *others[1:]]
        made = transport(*(Http(each.url, f"b{n}") for n, each in enumerate(servers)))
        ids = []
        for start in range(0, 1000, 100):
            ids += publish(made, range(start, start + 100))
            time.sleep(0.05)

        assert eventually(lambda: all(each.stored == ids for each in others), 2.0)
        assert lane(made, "b1")["delivered"] == 0
        assert lane(made, "b1")["queued"] == 1000
