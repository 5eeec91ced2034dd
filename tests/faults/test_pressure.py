"""More than the network, the memory or the disk can take: bounded, counted, and nothing hurt."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.faults import damage
from tests.faults.runner import delivered_once, start, told
from tests.faults.test_process_deaths import deliver
from tests.transport.faultserver import Answer, FaultServer

FASTER = """
import resource
from dataclasses import replace
from pathlib import Path
from instrument.transport import SpoolOptions, Transport
from tests.transport.fakes import QUICK, Given, Http, conserved
from tests.transport.fakes import run as made
folder, cap = Path(sys.argv[2]), 2**20
spool = SpoolOptions(path=str(folder), max_bytes=cap, segment_bytes=64 * 1024)
bounds = replace(QUICK, queue_events=500, request_deadline=10.0, transfer_timeout=10.0)
transport = Transport([Http(url)], bounds=bounds, spool=spool)
writers = set()
def audit(event, arguments):
    if event == "open" and str(folder) in str(arguments[0]):
        writers.add(threading.current_thread().name)
sys.addaudithook(audit)

def size():
    total = 0
    for path in folder.iterdir() if folder.exists() else ():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            pass
    return total

text = b'"' + b"x" * 1000 + b'"'
sizes, peaks, n = [], [], 0
end = time.monotonic() + 2.0
while time.monotonic() < end:
    for _ in range(20):
        transport.publish(Given(made(n, input=text + str(n).encode())))
        n += 1
    sizes.append(size())
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    time.sleep(0.005)
flushed = transport.shutdown(0.5)
stats = conserved(transport)
print(json.dumps({
    "published": n, **stats["intake"], **stats["lanes"]["http"], "overall": stats,
    "biggest": max(sizes), "cap": cap, "grown": peaks[-1] - peaks[len(peaks) // 3],
    "writers": sorted(writers),
}))
"""


def test_producers_faster_than_the_network(tmp_path: Path) -> None:
    """48: memory stays flat, the spool within its cap, losses have reasons, no caller writes."""
    with FaultServer(decide=lambda ids: Answer(delay=0.2)) as server:
        process = start(FASTER, server.url, tmp_path / "spool")
        out, err = process.communicate(timeout=40)
        assert "Traceback" not in err, err
        result = json.loads(out)
        stored = list(server.stored)

    intake, lane = result["overall"]["intake"], result["overall"]["lanes"]["http"]
    assert intake["accepted"] == result["published"] > 3000
    assert set(intake["dropped"]) <= {"queue_full"}
    assert set(lane["dropped"]) <= {"spool_full", "queue_full"}
    assert lane["dropped"]["spool_full"] > 200
    assert len(stored) == len(set(stored))
    assert lane["delivered"] <= len(stored) <= lane["delivered"] + 100  # one reply came too late
    assert lane["spooled"] > 0
    assert result["biggest"] <= result["cap"] * 1.1
    assert result["grown"] < 8
    assert result["writers"] == ["instrument-syncer", "instrument-worker"]


FULL = """
import resource
from tests.faults import told
for n in range(30):
    if n == 10:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    if n == 0:
        begin(url, spool=sys.argv[2])
    record({"n": n, "text": "x" * 800})
    time.sleep(0.02)
told.instrument.flush()
told.more.append(told.instrument.stats()["spool"])
"""


def test_disk_that_takes_no_more(tmp_path: Path) -> None:
    """31: when the disk takes no more, all goes on in memory, is counted, and is delivered."""
    with FaultServer() as server:
        (one,) = told(start(FULL, server.url, tmp_path / "spool"))

        delivered_once(server.stored, [one])
    assert one.more[0]["unspooled"] + one.more[0]["written"] == 30
    assert deliver(tmp_path / "spool") == []


@pytest.mark.parametrize("seed", range(3))
def test_damaged_spool(capsys: pytest.CaptureFixture[str], seed: int) -> None:
    """33: files damaged in any way raise nothing, forge nothing, and lose only what was hit."""
    assert damage.judge(60, random.Random(seed)) == 0
    result = json.loads(capsys.readouterr().out)

    assert result["cases"] == 60
    assert result["read"] > result["written"] / 2
