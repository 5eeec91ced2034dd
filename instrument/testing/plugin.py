"""The fixture `runs` of pytest, which finds it by itself once the package is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .capture import Runs, capture


@pytest.fixture
def runs() -> Iterator[Runs]:
    """The runs of this test: `runs.llm[0].text`, `runs.tree()`; they go nowhere else."""
    with capture() as found:
        yield found
