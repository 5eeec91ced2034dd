"""Importing the package is cheap and does nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUDGET_MS = 40.0

PEERS = "asyncio, unittest.mock"
"""Modules that take about as long; where they take longer, so may we: that machine is slow."""

LOOK = """
import json, logging, sys, threading
before = set(sys.modules)
import instrument
print(json.dumps({
    "modules": sorted(set(sys.modules) - before),
    "threads": threading.active_count(),
    "handlers": len(logging.getLogger("instrument").handlers + logging.root.handlers),
    "path_hooks": [type(finder).__module__ for finder in sys.meta_path],
}))
"""

# The time of the processor, because that of the wall is also what other programs take.
CLOCK = """
import time
begin = time.process_time()
import %s
print((time.process_time() - begin) * 1000)
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Run code in an interpreter of its own, which finds this checkout, compiled as is usual."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("compiled"))}
    env.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(code: str) -> str:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    return run


def test_import_is_light(fresh):
    """It pulls in neither an HTTP client, nor an SDK, nor a database, nor an event loop."""
    modules = {name.partition(".")[0] for name in json.loads(fresh(LOOK))["modules"]}

    assert not modules & {"httpx", "httpx2", "openai", "langchain_core", "sqlite3", "asyncio"}


def test_import_does_nothing(fresh):
    """It starts no thread, adds no log handler and no import hook."""
    seen = json.loads(fresh(LOOK))

    assert seen["threads"] == 1
    assert seen["handlers"] == 0
    assert not [name for name in seen["path_hooks"] if name.startswith(("wrapt", "instrument"))]


def test_import_is_quick(fresh):
    """The best of several fresh interpreters is within the budget, also when it is a slow machine."""
    ours, theirs = zip(
        *[(fresh(CLOCK % "instrument"), fresh(CLOCK % PEERS)) for _ in range(8)], strict=True
    )
    best, peers = min(map(float, ours)), min(map(float, theirs))

    assert best <= max(BUDGET_MS, peers), f"it took {best:.1f} ms, {PEERS} {peers:.1f} ms"


@pytest.mark.parametrize(
    ("exporters", "loaded"), [("'sqlite'", False), ("LLMonitor('11111111-app'), 'sqlite'", True)]
)
def test_httpx_is_never_half_imported(fresh, exporters, loaded):
    """
    It is imported when tracing to a backend begins, and not at all for the store alone.

    openai 3 looks for it among the loaded modules at every call, and fails on half of it: so it
    must not be imported on a thread beside the application's.
    """
    code = f"""
import os, sys
os.environ["INSTRUMENT_QUIET"] = "1"
import instrument
from instrument.exporters.llmonitor import LLMonitor
instrument.instrument(exporters=[{exporters}])
print(hasattr(sys.modules.get("httpx"), "Client"))
"""
    assert fresh(code).strip() == str(loaded)
