"""Wrappers in the place of other people's methods, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, TypeAlias, final

Wrapped: TypeAlias = Callable[..., Any]

Apply: TypeAlias = Callable[[Any], None]
"""Told of a module when it is imported; puts the wrappers on its classes."""


@final
class Patches:
    """
    The wrappers of one integration.

    Attributes:
        wanted: False once they are taken back: from then on nothing more is wrapped, and what
            somebody else has wrapped meanwhile is to pass through.
    """

    def __init__(self) -> None:
        self.wanted = True
        self._put: list[tuple[Any, str, Any, Any]] = []

    def when_imported(self, module: str, apply: Apply) -> None:
        """Have *apply* called with a module when it is imported, or now if it is."""
        import wrapt  # it takes 30 ms, which `import instrument` has not

        def imported(found: Any) -> None:
            if self.wanted:
                apply(found)

        wrapt.register_post_import_hook(imported, module)

    def put(self, owner: Any, name: str, make: Callable[[Wrapped], Wrapped]) -> None:
        """Wrap a method of a class, its own or an inherited one; *make* gives the wrapper."""
        if not self.wanted:
            return
        import wrapt

        before = owner.__dict__.get(name)
        _, _, method = wrapt.resolve_path(owner, name)
        ours = make(as_function(method))
        wrapt.apply_patch(owner, name, ours)
        self._put.append((owner, name, before, ours))

    def undo(self) -> None:
        """Take back what is still ours."""
        self.wanted = False
        while self._put:
            owner, name, before, ours = self._put.pop()
            if owner.__dict__.get(name) is not ours:
                continue  # somebody wrapped our wrapper; ours passes through, being switched off
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def as_function(method: Any) -> Wrapped:
    """
    Give a method in the form that is called with its object first, whoever has wrapped it.

    A wrapper that is a plain function costs a call half as much as an object that has to be bound.
    """
    if isinstance(method, FunctionType):
        return method

    @wraps(method)
    def object_first(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        bind = getattr(method, "__get__", None)  # what has none is called without its object
        return (bind(self, type(self)) if bind else method)(*args, **kwargs)

    return object_first
