"""
Settings: arguments over environment over defaults.

The only module, beside the command line, that reads the environment.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, final, get_args

from . import exporters
from .exporters._base import Environment, HttpExporter, LocalExporter
from .run import JSON, ConfigError
from .serverless import freezes

AnyExporter: TypeAlias = "HttpExporter | LocalExporter"
Redact: TypeAlias = "Callable[[JSON], JSON]"

Sync: TypeAlias = Literal["none", "batch", "interval"]

STORE = "sqlite"
"""The exporter that is used when nothing else is asked for."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


class ExporterModule(Protocol):
    """What a module in `exporters` holds; see `exporters._base`."""

    ENV: tuple[str, ...]

    def from_env(self, env: Environment) -> AnyExporter:
        """Make the exporter from the environment, or raise `ConfigError`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    What `instrument()` was told, checked.

    Attributes:
        exporters: Where runs go.
        chosen: False when nobody chose and the local store stands in.
        user_id: The user of every run for which nothing nearer names one.
        capture_content: False keeps prompts, answers and their like out of every destination.
        scan_secrets: Whether what looks like a key or a token is masked.
        redact: Called with each piece of content before any destination; returns what may leave.
        hash_key: Where this is given, user ids leave as hashes under this key.
        sample_rate: Share of trees that are recorded, 0.0 to 1.0.
        flush_interval: Seconds a run waits at most before it is sent.
        spool: Folder in which what is accepted lies as well, to outlive the process, if any.
        spool_sync: When that is forced to the disk; see `transport.SpoolOptions`.
        flush_at_root_end: Whether the end of a root run waits for the delivery.
        flush_on_sigterm: Whether SIGTERM delivers before it does what it would have done.
    """

    exporters: Sequence[AnyExporter]
    chosen: bool = True
    user_id: str | None = None
    capture_content: bool = True
    scan_secrets: bool = True
    redact: Redact | None = None
    hash_key: bytes | None = None
    sample_rate: float = 1.0
    flush_interval: float = 1.0
    spool: str | None = None
    spool_sync: Sync = "batch"
    flush_at_root_end: bool = False
    flush_on_sigterm: bool = False


def read(options: Mapping[str, Any], env: Environment | None = None) -> Settings:
    """
    Lay the given options over the environment over the defaults.

    Raises:
        ConfigError: An option is unknown or has a value that cannot be used.
    """
    env = os.environ if env is None else env
    unknown = set(options) - OPTIONS
    if unknown:
        raise ConfigError(
            f"instrument() has no option {sorted(unknown)[0]!r}: use one of {', '.join(sorted(OPTIONS))}"
        )
    given = {name: value for name, value in options.items() if value is not None}
    chosen, found = choose(given.get("exporters"), env)
    redact = given.get("redact")
    if redact is not None and not callable(redact):
        raise ConfigError("redact must be a function that takes and returns a JSON value")
    return Settings(
        exporters=found,
        chosen=chosen,
        user_id=_text(given.get("user_id", env.get("INSTRUMENT_USER_ID") or None)),
        capture_content=_flag("capture_content", "INSTRUMENT_CAPTURE_CONTENT", given, env),
        scan_secrets=_flag("scan_secrets", "INSTRUMENT_SCAN_SECRETS", given, env),
        redact=redact,
        hash_key=_hash_key(given, env),
        sample_rate=_number("sample_rate", "INSTRUMENT_SAMPLE_RATE", given, env, (0.0, 1.0)),
        flush_interval=_number(
            "flush_interval", "INSTRUMENT_FLUSH_INTERVAL", given, env, (0.01, 3600.0)
        ),
        spool=_spool(given.get("spool", env.get("INSTRUMENT_SPOOL_DIR", ""))),
        spool_sync=_sync(given, env),
        flush_at_root_end=_flag(
            "flush_at_root_end", "INSTRUMENT_FLUSH_AT_ROOT_END", given, env, default=freezes(env)
        ),
        flush_on_sigterm=_flag(
            "flush_on_sigterm", "INSTRUMENT_FLUSH_ON_SIGTERM", given, env, default=False
        ),
    )


OPTIONS = frozenset(
    {
        "capture_content",
        "exporters",
        "flush_at_root_end",
        "flush_interval",
        "flush_on_sigterm",
        "hash_user_ids",
        "redact",
        "sample_rate",
        "scan_secrets",
        "spool",
        "spool_sync",
        "user_id",
    }
)


def disabled(env: Environment | None = None) -> bool:
    """Say whether `INSTRUMENT_DISABLED` turns everything off."""
    value = (os.environ if env is None else env).get("INSTRUMENT_DISABLED", "")
    return value.strip().lower() not in _FALSE


def quiet(env: Environment | None = None) -> bool:
    """Say whether somebody up the process tree has said already where the runs are."""
    value = (os.environ if env is None else env).get("INSTRUMENT_QUIET", "")
    return value.strip().lower() not in _FALSE


def variable(name: str) -> str | None:
    """Read one variable, for a client that is made without `instrument()`; empty is unset."""
    return os.environ.get(name) or None


def exporter_names() -> list[str]:
    """Names of the exporters there are: the modules of that folder without an underscore."""
    found = (module.name for module in pkgutil.iter_modules(exporters.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def choose(wanted: Any, env: Environment) -> tuple[bool, Sequence[AnyExporter]]:
    """
    Find the exporters: those given, else those named in the environment, else each with a key.

    Returns:
        Whether anybody chose, and the exporters; the local store when nobody did.
    """
    if isinstance(wanted, (str, HttpExporter, LocalExporter)):
        wanted = [wanted]
    if wanted is None:
        wanted = [name.strip() for name in env.get("INSTRUMENT_EXPORTERS", "").split(",")]
        wanted = [name for name in wanted if name]
    if not isinstance(wanted, Sequence):
        raise ConfigError("exporters must be a list of names or exporters")
    if not wanted:
        wanted = [name for name in exporter_names() if any(map(env.get, _module(name).ENV))]
    if not wanted:
        return False, [_module(STORE).from_env(env)]
    return True, _distinct([_exporter(entry, env) for entry in wanted])


def _exporter(entry: Any, env: Environment) -> AnyExporter:
    if isinstance(entry, str):
        return _module(entry).from_env(env)
    if isinstance(entry, (HttpExporter, LocalExporter)):
        return entry
    names = ", ".join(exporter_names())
    raise ConfigError(f"{entry!r} is not an exporter: give one of the names {names}, or an object")


def _module(name: str) -> ExporterModule:
    if name not in exporter_names():
        raise ConfigError(
            f"there is no exporter named {name!r}: use one of {', '.join(exporter_names())}"
        )
    module: ExporterModule = importlib.import_module(f"{exporters.__name__}.{name}")
    return module


def _distinct(found: Sequence[AnyExporter]) -> Sequence[AnyExporter]:
    names = [exporter.name for exporter in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two exporters are named {name!r}: give one of them another name")
    return found


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"user_id must be a string, not {type(value).__name__}: use str(...)")
    return value


def _hash_key(given: Mapping[str, Any], env: Environment) -> bytes | None:
    """Find the key of `hash_user_ids`: the option itself when it is a text, else the variable."""
    wanted = given.get("hash_user_ids")
    if isinstance(wanted, str) and wanted:
        return wanted.encode()
    key = env.get("INSTRUMENT_HASH_KEY", "")
    if wanted is False or (wanted is None and not key):
        return None
    if not key:
        raise ConfigError(
            "hash_user_ids needs a key: set INSTRUMENT_HASH_KEY to a long random text"
        )
    return key.encode()


def _spool(value: Any) -> str | None:
    """Find the folder of the spool; an empty text is none."""
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"spool must be the path of a folder, not {type(value).__name__}")
    path = os.fspath(value)
    if not isinstance(path, str) or "\0" in path:
        raise ConfigError("spool must be the path of a folder, as text")
    if not path:
        return None
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.exists(path) and not os.path.isdir(path):
        raise ConfigError(f"the spool {path} is a file: give the path of a folder")
    return path


def _sync(given: Mapping[str, Any], env: Environment) -> Sync:
    value = given.get("spool_sync") or env.get("INSTRUMENT_SPOOL_SYNC") or "batch"
    for known in get_args(Sync):
        if value == known:
            sync: Sync = known
            return sync
    raise ConfigError(f"spool_sync is {value!r}: use one of {', '.join(get_args(Sync))}")


def _flag(
    option: str,
    variable: str,
    given: Mapping[str, Any],
    env: Environment,
    *,
    default: bool = True,
) -> bool:
    if option in given:
        return bool(given[option])
    if variable not in env:
        return default
    value = env[variable].strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ConfigError(f"{variable} is {value!r}: set it to 1 or 0")


def _number(
    option: str,
    variable: str,
    given: Mapping[str, Any],
    env: Environment,
    bounds: tuple[float, float],
) -> float:
    name, value = option, given.get(option)
    if value is None:
        name, value = variable, env.get(variable, "").strip() or "1"
    low, high = bounds
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high:
        raise ConfigError(f"{name} is {value!r}: give a number from {low:g} to {high:g}")
    return number
