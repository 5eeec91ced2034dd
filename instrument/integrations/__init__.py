"""
One file (or folder) per SDK that is instrumented, found by its name.

Each has `install(recorder)`, which patches the SDK when that is imported (before or after, and
never by importing it) and returns a function that takes back what is still ours.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Protocol

from ..recorder import Recorder


class Integration(Protocol):
    """What a module of this folder holds."""

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Trace this SDK into *recorder*; the result takes it back."""


def install_all(recorder: Recorder) -> list[Callable[[], None]]:
    """Install every integration there is, and give the functions that take them back."""
    undo = []
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            integration: Integration = importlib.import_module(f"{__name__}.{module.name}")
            undo.append(integration.install(recorder))
    return undo
