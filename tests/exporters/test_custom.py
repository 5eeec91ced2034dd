"""A destination of one's own is one file, given to `instrument()` as an object."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from instrument.exporters._base import HttpExporter
from tests.exporters.cases import error, run

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "custom_exporter.py"


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The example's destination receives the run of a real call through the OpenAI client."""
    pytest.importorskip("openai")
    runpy.run_path(str(EXAMPLE), run_name="__main__")

    assert capsys.readouterr().out.startswith("ada asked gpt-4o-mini: ok after ")


def test_example_is_an_exporter() -> None:
    """It has all that the transport asks of a destination, and encodes runs that failed too."""
    pytest.importorskip("openai")
    webhook = runpy.run_path(str(EXAMPLE))["Webhook"]("http://host/hook")
    encoded = webhook.encode([run(), error()], ())

    assert isinstance(webhook, HttpExporter)
    assert b"u-42 asked gpt-4o: RateLimitError after 2.5 s" in encoded.requests[0].body
    assert webhook.encode([], ()).requests == []
