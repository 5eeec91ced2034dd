"""A destination as the environment describes it: what was set for it, with its keys masked."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from . import config, exporters
from .exporters._base import Environment
from .run import ConfigError

PLACEHOLDER = "00000000-0000-4000-8000-000000000000"
"""What stands for a key that is not set, where nothing is sent; it has the form of a project id."""

_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD|APP_ID")
_SHORT = 12


@final
@dataclass(frozen=True, slots=True)
class Destination:
    """
    One destination and its settings.

    Attributes:
        settings: The variables that it reads and that are set, keys among them.
        placeholder: The variable of the key that was not set, for which something else stands.
    """

    name: str
    exporter: config.AnyExporter
    settings: Mapping[str, str]
    placeholder: str | None = None

    @property
    def shown(self) -> dict[str, str]:
        """The settings, keys masked."""
        return {name: shown(name, value) for name, value in self.settings.items()}

    @property
    def fingerprint(self) -> str:
        """A short text that is another one for another key, project or address."""
        text = repr(sorted(self.settings.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def masked(self, text: str) -> str:
        """Mask the keys of this destination wherever they stand in a text."""
        for name, value in self.settings.items():
            if name == self.placeholder:
                text = text.replace(value, f"<{name}>")
            elif _SECRET.search(name):
                text = text.replace(value, mask(value))
        return text


class _Asked(Mapping[str, str]):
    """An environment that remembers which variables were asked for."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.names[name] = None
        return self._env[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


def find(name: str, env: Environment, *, placeholder: bool = False) -> Destination:
    """
    Make a destination from the environment.

    Args:
        name: As in `INSTRUMENT_EXPORTERS`.
        env: The environment.
        placeholder: Whether something may stand for a key that is not set.

    Raises:
        ConfigError: There is no such destination, or it cannot be used as it is set up.
    """
    keys = keys_of(name)
    missing = keys[0] if placeholder and keys and not any(map(env.get, keys)) else None
    asked = _Asked({**env, missing: PLACEHOLDER} if missing else env)
    _, [exporter] = config.choose([name], asked)
    settings = {each: value for each in asked.names if (value := asked.get(each))}
    return Destination(name, exporter, settings, missing)


def keys_of(name: str) -> tuple[str, ...]:
    """
    Name the variables that turn a destination on.

    Raises:
        ConfigError: There is no such destination.
    """
    if name not in config.exporter_names():
        names = ", ".join(config.exporter_names())
        raise ConfigError(f"there is no destination named {name!r}: use one of {names}")
    module: Any = importlib.import_module(f"{exporters.__name__}.{name}")
    return tuple(module.ENV)


def shown(name: str, value: str) -> str:
    """Write a setting so that it may be shown."""
    return mask(value) if _SECRET.search(name) else value


def mask(secret: str) -> str:
    """Leave of a key only what tells it from others."""
    return f"{secret[:4]}…{secret[-2:]}" if len(secret) >= _SHORT else "…"
