"""A value that nothing can be done with."""

from __future__ import annotations

from typing import Any


class Angry:
    """Raises at every touch."""

    def __repr__(self) -> str:
        raise ValueError("repr")

    __str__ = __repr__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __iter__(self) -> Any:
        raise RuntimeError("iter")
