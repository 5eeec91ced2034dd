"""What LangChain calls a run: its name, its tags, its agent, and for whom it is made."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any, Final, NamedTuple
from uuid import UUID

from ...run import JSON, Kind
from ...snapshot import plain

HIDDEN: Final = "langsmith:hidden"
"""Tag of a run that LangChain itself hides."""

NOISE: Final = ("seq:step:", "graph:step:", "map:key:", "branch:", "condition:")
"""How the tags begin that only say where in a chain a run stands."""

AGENTS: Final = frozenset({"AgentExecutor", "PlanAndExecute"})
"""Names of LangChain's older agents, which carry no mark."""

USER_KEYS: Final = ("user_id",)
THREAD_KEYS: Final = ("thread_id", "session_id", "conversation_id")
WHO_KEYS: Final = frozenset({*USER_KEYS, *THREAD_KEYS, "user_props"})

METADATA_KEYS: Final = frozenset(
    {
        "agent_name",
        "lc_agent_name",
        "lc_source",
        "langgraph_node",
        "langgraph_step",
        "langgraph_checkpoint_ns",
        "ls_retriever_name",
    }
)
"""
What is kept of LangChain's metadata, whose other keys may hold anything.

LangChain 0.3 copies each scalar of `configurable` into it, keys to services among them.
"""

MODEL_KEYS: Final = ("model", "model_name", "model_id", "azure_deployment", "deployment_name")

CONFIG_FRAMES: Final = 12
"""
How many frames above a root's start are searched for its `config`.

LangChain's own are six at most; whoever wraps its methods stands between them. Each frame has its
price, and above them the application's stack may be deep.
"""

OWN_FRAMES: Final = 6
"""How many of them are searched for the config of a run that stands under another one."""

NEAR_FRAMES: Final = 7
"""How many frames are passed over: ours, and LangChain's between a run's method and its callback."""

CONFIG_METHODS: Final = frozenset(
    {
        "invoke",
        "ainvoke",
        "batch",
        "abatch",
        "stream",
        "astream",
        "_call_with_config",
        "_acall_with_config",
        "_batch_with_config",
        "_abatch_with_config",
        "_transform_stream_with_config",
        "_atransform_stream_with_config",
        "_chat_model_stream_v3",
        "<listcomp>",  # in which a batch begins its runs, before Python 3.12
        "run",
        "arun",
    }
)
"""Methods of LangChain's that begin runs and have a `config`."""

SDKS: Final = ("langchain", "langgraph")
"""How the names of the modules begin whose frames are searched."""


class Who(NamedTuple):
    """For whom a run is made, as LangChain's metadata or `configurable` have it."""

    user_id: str | None = None
    thread_id: str | None = None
    user_props: Mapping[str, JSON] | None = None


NOBODY: Final = Who()


def read_who(values: Mapping[str, Any]) -> Who:
    """Find the user and the thread in metadata or in `configurable`."""
    if WHO_KEYS.isdisjoint(values):
        return NOBODY
    props = values.get("user_props")
    return Who(
        _first_id(values, USER_KEYS),
        _first_id(values, THREAD_KEYS),
        _properties(props) if isinstance(props, dict) else None,
    )


def _first_id(values: Mapping[str, Any], names: Iterable[str]) -> str | None:
    for name in names:
        value = values.get(name)
        if value is not None and value != "" and isinstance(value, (str, int, UUID)):
            return str.__str__(value) if isinstance(value, str) else str(value)
    return None


def _properties(props: dict[Any, Any]) -> dict[str, JSON] | None:
    written = plain(props)
    return written if isinstance(written, dict) else None


def find_configurable(*, is_root: bool) -> Mapping[str, Any]:
    """
    Find the `configurable` of the LangChain call on the stack that begins a run.

    LangChain 1.x hands callbacks only a few of its values. What is further up the stack says of a
    run that is no root nothing that the run above has not.
    """
    frame = stack_above(NEAR_FRAMES)
    for _ in range(CONFIG_FRAMES if is_root else OWN_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name in CONFIG_METHODS and _is_langchain(frame):
            config = frame.f_locals.get("config")
            values = config.get("configurable") if isinstance(config, dict) else None
            if isinstance(values, dict):
                return values
            if not is_root:
                break
        frame = frame.f_back
    return {}


def who_in_batch(batch: tuple[Any, Any], given: Any) -> Who:
    """
    Find the user and the thread of a run whose input is *given*, in the config of a batch.

    A batch may have a config for each input. Where two that say different things were given the same
    input, nobody knows whose it is.
    """
    inputs, config = batch
    configs = [config]
    if not isinstance(config, Mapping):
        configs = [own for item, own in zip(inputs, config or (), strict=False) if item is given]
    found = [read_who((config or {}).get("configurable") or {}) for config in configs]
    return found[0] if found and all(who == found[0] for who in found) else NOBODY


def stack_above(count: int) -> FrameType | None:
    """
    Give the frame so many above this one's caller; None when there are not so many.

    A frame that is looked at costs its function more at its end, so those between are not.
    """
    try:
        return sys._getframe(count + 1)  # noqa: SLF001 - the documented way to walk the stack
    except ValueError:
        return None


def _is_langchain(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(SDKS)


def run_name(kind: Kind, serialized: Any, told: Mapping[str, Any]) -> str:
    """Name a run: as the application says, else as its class is called, else its kind."""
    if kind == "llm":
        return model_name(serialized, told)
    name = told.get("name")
    if not name and isinstance(serialized, dict):
        name = serialized.get("name") or (serialized.get("id") or [None])[-1]
    return str(name or kind)


def model_name(serialized: Any, told: Mapping[str, Any]) -> str:
    """
    Name the model that is asked for.

    With a model chosen for one call, the parameters hold it beside the stale one of the
    constructor, so what LangChain worked out comes first.
    """
    metadata = told.get("metadata")
    name = metadata.get("ls_model_name") if metadata else None
    params = told.get("invocation_params")
    if not name and params:
        for key in MODEL_KEYS:
            name = params.get(key)
            if name:
                break
    if not name and isinstance(serialized, dict):
        given = serialized.get("kwargs") or {}
        name = given.get("model") or given.get("model_name")
        name = name or serialized.get("name") or (serialized.get("id") or [None])[-1]
    name = str(name or told.get("name") or "unknown")
    return name.removeprefix("models/")


def agent_key(metadata: Mapping[str, Any]) -> Any:
    """
    Tell whose agent's metadata this is; None outside agents.

    LangChain hands an agent's marks down to all below it, so the agent itself is where they change.
    """
    if not metadata:
        return None
    name = metadata.get("lc_agent_name") or metadata.get("agent_name")
    return name or metadata.get("ls_integration") == "langchain_create_agent" or None


def clean_tags(tags: Iterable[Any] | None) -> tuple[str, ...]:
    """Keep the tags that somebody chose."""
    return tuple(str(tag) for tag in tags or () if not str(tag).startswith(NOISE))


def kept_metadata(metadata: Mapping[str, Any]) -> dict[str, JSON]:
    """Keep what is known to be harmless, and only scalars, as plain JSON."""
    kept = {
        key: value
        for key, value in metadata.items()
        if key in METADATA_KEYS and isinstance(value, (str, int, float, bool))
    }
    return (kept and _properties(kept)) or {}
