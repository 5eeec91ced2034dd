"""Programs of greenlets: the standard library is patched before or after the tracing begins."""

from __future__ import annotations

import pytest

from tests.faults.runner import delivered_once, run
from tests.transport.faultserver import Answer, FaultServer, Hang

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()\nimport gevent\nspawn = gevent.spawn",
    "eventlet": "import eventlet; eventlet.monkey_patch()\nspawn = eventlet.spawn",
}

GREEN = """
import warnings
warnings.simplefilter("ignore")
from tests.faults import told
import instrument.transport, httpx
{imported}
begin(url)
record("first")
{running}
ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        time.sleep(0.01)
def work(n):
    for _ in range(10):
        record(n)
        time.sleep(0.001)
spawn(tick)
began = time.monotonic()
for n in range(20):
    spawn(work, n)
time.sleep(0.2)
instrument.flush(5)
took = time.monotonic() - began
record("last")
told.more.append([len(ticks), took])
"""


# With eventlet, threads that were there before the patch do not end without a word to stderr.
@pytest.mark.parametrize(
    ("library", "when"),
    [
        ("gevent", "first"),
        ("gevent", "imported"),
        ("gevent", "running"),
        ("eventlet", "first"),
        ("eventlet", "imported"),
    ],
)
def test_patched(library: str, when: str) -> None:
    """53: all is delivered, and other greenlets go on while one waits for a flush."""
    pytest.importorskip(library, reason=f"{library} is not installed: gevent is in [dev]")
    places = {"first": "", "imported": "", "running": "", when: PATCH[library]}
    if when == "running":
        # From 3.13 on gevent replaces the locks of imports too, and fails when it, or its hub, has to
        # import something while another thread does. Once delivered, ours has all that it needs.
        ready = "instrument.flush(5); import gevent; gevent.get_hub()"
        places["running"] = f"{ready}\n{PATCH[library]}"
    code = GREEN.format_map(places)
    with FaultServer(decide=lambda ids: Answer(delay=0.2)) as server:
        # A request that is under way while its sockets are replaced may break: it is sent again.
        is_late = when == "running"
        (one,) = run(code, server.url, timeout=30, first=places["first"], may_fail=is_late)

        assert len(one.accepted) == 202
        delivered_once(server.stored, [one])
    ticks, took = one.more[0]
    assert ticks >= took / 0.01 / 4


@pytest.mark.parametrize("library", ["gevent"])
def test_end_with_a_backend_that_hangs(library: str) -> None:
    """37, 53: the end is in time with greenlets, too."""
    pytest.importorskip(library, reason=f"{library} is not installed: gevent is in [dev]")
    code = """
    import instrument
    from tests.faults import told
    begin(url)
    record(1)
    told.more.append(time.monotonic())
    instrument.shutdown(1.0)
    """
    with FaultServer(decide=lambda ids: Hang()) as server:
        (one,) = run(code, server.url, timeout=30, first=PATCH[library])

    assert one.at - one.more[0] < 1.5
    assert one.lane["dropped"] == {"exit": 1}
