"""
What works here and what does not: versions, patches, destinations, the store.

Each check is a finding with its remedy; nothing is guessed that can be tried. So the SDKs are called
once against a server of our own, and each backend is sent one probe through the real transport.
"""

from __future__ import annotations

import importlib
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, TypeAlias, final

from . import config, destinations
from . import probe as probes
from .backfill import counted
from .destinations import Destination
from .exporters._base import Environment, HttpExporter
from .exporters.sqlite import store_path
from .integrations.openai._tap import MODULE
from .run import ConfigError
from .store import Filters, Store, StoreError
from .testing import FakeOpenAI, capture

State: TypeAlias = Literal["ok", "note", "problem"]
Sections: TypeAlias = "dict[str, list[Finding]]"
Load: TypeAlias = "Callable[[str], Any]"

NEEDED = ("httpx", "orjson", "wrapt")
OPTIONAL = (
    *("openai", "langchain-core", "langchain", "langchain-openai", "langgraph"),
    *("genai-prices", "starlette", "uvicorn"),
)
"""Packages that are named where they are installed."""

METHODS = ("request", "_build_request", "_should_retry", "_process_response")
CLIENTS = ("SyncAPIClient", "AsyncAPIClient")
HOOKS = "langchain_core.tracers.context"

FILES: Mapping[str, str] = {"sqlite": "INSTRUMENT_STORE", "jsonl": "INSTRUMENT_JSONL"}
"""The variables that name the file of a destination."""

PROBE_SECONDS = 10.0
"""How long a backend's answer is waited for."""


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `ok`, worth a `note`, or a `problem` that is to be put right."""

    state: State
    what: str
    text: str


def examine(
    env: Environment,
    *,
    probe: bool,
    doing: Callable[[str], None] = lambda _: None,
    seconds: float = PROBE_SECONDS,
) -> Sections:
    """
    Look at everything.

    Args:
        env: The environment.
        probe: Whether each backend is sent one run.
        doing: Told what is being done, for it may take a while.
        seconds: How long each backend's answer is waited for.
    """
    found: Sections = {"versions": list(versions())}
    doing("calling the SDKs")
    found["tracing"] = [*switched(env), *openai_findings(), *langchain_findings()]
    places, found["destinations"] = chosen(env)
    ledger: list[Finding] = []
    for place in places:
        found["destinations"].append(settings_of(place))
        if probe and isinstance(place.exporter, HttpExporter):
            doing(f"asking {place.name}")
            answered = probe_of(place, place.exporter, seconds)
            found["destinations"].append(answered[0])
            ledger.append(answered[1])
        found["destinations"] += blocked(place)
    found["ledger"] = ledger
    found["store"] = list(store_findings(store_path(env)))
    found["spool"] = list(spool_findings(env))
    return {name: section for name, section in found.items() if section}


def is_well(sections: Sections) -> bool:
    """Say whether nothing is to be put right."""
    return all(each.state != "problem" for section in sections.values() for each in section)


def versions() -> Iterator[Finding]:
    """Name what is installed, and for which Python."""
    yield Finding("ok", "python", f"{platform.python_version()}, {sys.executable}")
    own = installed("llm-instrument")
    yield Finding("ok", "llm-instrument", own or "run from a checkout")
    for name in NEEDED:
        found = installed(name)
        yield Finding("ok" if found else "problem", name, found or f"missing: pip install {name}")
    for name in OPTIONAL:
        found = installed(name)
        if found:
            yield Finding("ok", name, found)


def installed(name: str) -> str | None:
    """Say which version of a package is installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def switched(env: Environment) -> Iterator[Finding]:
    """Say what turns tracing off."""
    if config.disabled(env):
        yield Finding("problem", "INSTRUMENT_DISABLED", "is set, so nothing is traced: unset it")
    if not any(map(installed, ("openai", "langchain-core"))):
        text = "neither openai nor langchain-core is installed here: is it another Python that has them?"
        yield Finding("problem", "SDKs", text)


def openai_findings(load: Load = importlib.import_module) -> Iterator[Finding]:
    """Look at what of the openai package is wrapped, and make a call to a server of our own."""
    if not installed("openai"):
        return
    try:
        module = load(MODULE)
    except ImportError as error:
        yield Finding("problem", "openai", f"cannot be imported: {error}")
        return
    missing = [
        f"{client}.{name}"
        for client in CLIENTS
        for name in METHODS
        if not hasattr(getattr(module, client, None), name)
    ]
    if missing:
        yield Finding("problem", "openai", f"without {', '.join(missing)}: less is recorded")
    else:
        layer = f"{', '.join(METHODS)} of {' and '.join(CLIENTS)} in {MODULE}"
        yield Finding("ok", "openai", f"wrapped: {layer}")
    yield trial("openai call", openai_call)


def langchain_findings(load: Load = importlib.import_module) -> Iterator[Finding]:
    """Look at LangChain's hook, and run a model of its own that answers by itself."""
    if not installed("langchain-core"):
        return
    try:
        module = load(HOOKS)
    except ImportError as error:
        yield Finding("problem", "langchain", f"cannot be imported: {error}")
        return
    if hasattr(module, "register_configure_hook"):
        yield Finding("ok", "langchain", f"hooked: register_configure_hook of {HOOKS}")
    else:
        yield Finding("problem", "langchain", f"{HOOKS} has no register_configure_hook")
    yield trial("langchain call", langchain_call)


def openai_call() -> None:
    """Make one call with the openai package."""
    openai: Any = importlib.import_module("openai")
    with FakeOpenAI() as server:
        options = {"base_url": server.url, "api_key": "doctor", "max_retries": 0, "timeout": 10}
        with openai.OpenAI(**options) as client:
            messages = [{"role": "user", "content": "Is anybody there?"}]
            client.chat.completions.create(model="doctor", messages=messages)


def langchain_call() -> None:
    """Run one model of LangChain's."""
    fakes: Any = importlib.import_module("langchain_core.language_models.fake_chat_models")
    fakes.FakeListChatModel(responses=["yes"]).invoke("Is anybody there?")


def trial(what: str, call: Callable[[], None]) -> Finding:
    """Make a call, and say whether it was recorded."""
    begun = time.perf_counter()
    try:
        with capture() as runs:
            call()
    except failures() as error:
        return Finding("problem", what, f"failed: {type(error).__name__}: {error}")
    if len(runs.llm) != 1:
        return Finding("problem", what, f"was recorded {len(runs.llm)} times, not once")
    milliseconds = (time.perf_counter() - begun) * 1000
    return Finding("ok", what, f"one was made here and recorded, {milliseconds:.0f} ms")


def failures() -> tuple[type[BaseException], ...]:
    """Name what an SDK may fail with here."""
    own = getattr(sys.modules.get("openai"), "OpenAIError", OSError)
    return (AttributeError, ImportError, LookupError, OSError, TypeError, RuntimeError, own)


def chosen(env: Environment) -> tuple[list[Destination], list[Finding]]:
    """Find the destinations that runs would go to, and what is wrong with the others."""
    wanted = [name.strip() for name in env.get("INSTRUMENT_EXPORTERS", "").split(",")]
    names = [name for name in wanted if name]
    if not names:
        every = config.exporter_names()
        names = [name for name in every if any(map(env.get, destinations.keys_of(name)))]
    stand_in = Finding("note", "no key is set", "so runs go to the local store")
    found = [place_of(name, env) for name in names or [config.STORE]]
    problems = [each for each in found if isinstance(each, Finding)]
    places = [each for each in found if isinstance(each, Destination)]
    return places, problems if names else [stand_in, *problems]


def place_of(name: str, env: Environment) -> Destination | Finding:
    """Make a destination, or say what is wrong with its settings."""
    try:
        return destinations.find(name, env)
    except ConfigError as error:
        return Finding("problem", name, str(error))


def settings_of(place: Destination) -> Finding:
    """Write the settings of a destination, keys masked."""
    said = ", ".join(f"{name}={value}" for name, value in place.shown.items())
    return Finding("ok", place.name, said or "no settings: the defaults")


def probe_of(place: Destination, exporter: HttpExporter, seconds: float) -> tuple[Finding, Finding]:
    """Send one run; give the answer, and the ledger of it."""
    probed = probes.probe(place, exporter, seconds)
    return (
        Finding("ok" if probed.has_arrived else "problem", f"{place.name} probe", probed.answer),
        Finding("ok" if probed.has_arrived else "note", place.name, probed.ledger),
    )


def blocked(place: Destination) -> Iterator[Finding]:
    """Say why nothing can be written to the file of a destination that has one."""
    path = getattr(place.exporter, "path", None)
    reason = None if path is None else unwritable(Path(path))
    if reason is not None:
        variable = FILES.get(place.name, "its file")
        text = f"{path} cannot be written: {reason}: set {variable} to another file"
        yield Finding("problem", f"{place.name} file", text)


def unwritable(path: Path) -> str | None:
    """Try to write where a file is, or will be; say what the system says against it."""
    try:
        if path.exists():
            path.open("ab").close()
        folder = next(each for each in path.absolute().parents if each.exists())
        TemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def store_findings(path: Path) -> Iterator[Finding]:
    """Say what is in the store."""
    if not path.exists():
        yield Finding("note", "file", f"{path}: there is none yet")
        return
    try:
        store = Store(path)
        totals, traces = store.totals(), store.count()
        newest = store.newest(1)
        is_open = store.count(Filters(status="open"))
    except StoreError as error:
        yield Finding("problem", "file", str(error))
        return
    size = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
    yield Finding("ok", "file", f"{path}, {size / 1024**2:,.1f} MiB")
    last = f", the newest of {newest[0].root.started_at:%Y-%m-%d %H:%M:%S} UTC" if newest else ""
    yield Finding("ok", "holds", f"{counted(totals.runs, 'run')}, {counted(traces, 'trace')}{last}")
    if is_open:
        yield Finding("note", "open", f"{counted(is_open, 'trace')} with runs that never ended")
    for damaged in sorted(path.parent.glob(f"{path.name}.damaged-*")):
        yield Finding("note", "damaged", f"{damaged} was set aside")


def spool_findings(env: Environment) -> Iterator[Finding]:
    """Say what waits in the spool, where one is configured."""
    try:
        spool = config.read({"exporters": [config.STORE]}, env).spool
    except ConfigError as error:
        yield Finding("problem", "settings", str(error))
        return
    if spool is None:
        return
    folder = Path(str(spool))
    files = [each for each in folder.rglob("*") if each.is_file()] if folder.is_dir() else []
    size = sum(each.stat().st_size for each in files)
    text = f"{folder}, {counted(len(files), 'file')}, {size / 1024:,.0f} KiB"
    yield Finding("ok", "folder", text if folder.is_dir() else f"{folder}: there is none yet")
    reason = unwritable(folder / "one")
    if reason is not None:
        text = f"{folder} cannot be written: {reason}: set INSTRUMENT_SPOOL_DIR to another folder"
        yield Finding("problem", "writing", text)
