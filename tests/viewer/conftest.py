"""A store with runs in it, and the page over it, as a browser with the token has it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest

from instrument.exporters.sqlite import SqliteExporter
from instrument.run import Item, Run, Snapshot

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
TOKEN = "a-token-for-tests"


class Story:
    """Makes runs, by default ended llm runs that are traces by themselves."""

    now = NOW

    @staticmethod
    def later(seconds: float) -> datetime:
        return NOW + timedelta(seconds=seconds)

    @staticmethod
    def snap(value: Any) -> Snapshot:
        return Snapshot(orjson.dumps(value))

    @classmethod
    def run(cls, run_id: str, at: float = 0.0, **fields: Any) -> Run:
        for name in ("input", "output", "params"):
            if fields.get(name) is not None:
                fields[name] = cls.snap(fields[name])
        given: dict[str, Any] = {
            "id": run_id,
            "trace_id": run_id,
            "parent_id": None,
            "kind": "llm",
            "name": "gpt-4o",
            "started_at": cls.later(at),
            "duration": 1.0,
        }
        return Run(**{**given, **fields})

    @staticmethod
    def user(text: str) -> dict[str, Any]:
        return {"role": "user", "content": text}

    @staticmethod
    def assistant(text: str | None, **more: Any) -> dict[str, Any]:
        return {"role": "assistant", "content": text, **more}


@pytest.fixture
def story() -> type[Story]:
    return Story


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a store that is not there yet."""
    return tmp_path / "folder" / "runs.db"


@pytest.fixture
def write(path: Path) -> Callable[..., None]:
    """Write items into the store."""

    def write(*items: Item) -> None:
        # The tests' year is as good as any: their traces never grow too old.
        exporter = SqliteExporter(path, max_age=1e10)
        exporter.write(items)
        exporter.close()

    return write


@pytest.fixture
def site(path: Path) -> Any:
    """Make the application, at noon of the tests' day."""
    app = pytest.importorskip("instrument.viewer.app", reason="the extra [view] is not installed")
    door = pytest.importorskip("instrument.viewer.door")
    source = pytest.importorskip("instrument.viewer.source")
    at_noon = source.Source(path, lambda: NOW + timedelta(hours=1))
    return app.make_app(at_noon, door.Door(TOKEN, "instrument_8000"))


@pytest.fixture
def stranger(site: Any) -> Any:
    """Make a client without the token."""
    testclient = pytest.importorskip("starlette.testclient")
    return testclient.TestClient(site, base_url="http://127.0.0.1:8000", follow_redirects=False)


@pytest.fixture
def client(stranger: Any) -> Any:
    """Make a client that came in with the token."""
    stranger.get(f"/?token={TOKEN}")
    return stranger
