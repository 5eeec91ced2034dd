"""
Which of LangChain's runs a call of an SDK belongs to: so that it is counted once, or nested.

The frames on the stack say it without a doubt, in threads, executors, tasks and generators alike: a
call made from inside a model's own method, with a run that is open here, is that run. Context
variables alone are wrong in many places, because a stream runs in the context of its reader.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Final
from uuid import UUID

from ...context import Surroundings
from ...run import Kind
from .labels import stack_above
from .nodes import Node, open_models, registry, scope
from .places import find_configured, find_place

MAX_FRAMES: Final = 40
"""How many frames above a call of an SDK are looked at."""

MODEL_METHODS: Final = frozenset(
    {
        "_generate_with_cache",
        "_agenerate_with_cache",
        "_generate_helper",
        "_agenerate_helper",
        "_generate",
        "_agenerate",
        "_stream",
        "_astream",
        "_call",
        "_acall",
        "stream",
        "astream",
        "_iter_v2_events",
        "_aiter_v2_events",
    }
)
"""Methods of a model that hold its run while they call the provider."""

ASKING_FRAMES: Final = 5
"""How many frames are passed over: ours, and LangChain's that calls us."""

CALLBACK_METHODS: Final = frozenset({"handle_event", "_ahandle_event_for_handler"})
"""Functions of `CALLBACKS` from which a callback of the application's is called."""

CALLBACKS: Final = "langchain_core.callbacks.manager"
MODELS: Final = "langchain_core.language_models."


def look() -> Surroundings | None:
    """Tell a call of an SDK, or a scope of the application's, which run of LangChain's it is in."""
    if not len(registry):
        return None
    node = find_owner(sys._getframe(1))  # noqa: SLF001 - the documented way to walk the stack
    if node is not None and node.run is not None:
        node.owns = True
        return Surroundings(owner=node, parent=node.place)
    above = find_enclosing()
    return None if above is None else Surroundings(parent=find_place(above))


def find_enclosing() -> Node | None:
    """Find the open run that encloses this code; LangChain's own variable leaves retrievers out."""
    return _inner(find_configured(), only_open("retriever"))


def _inner(one: Node | None, other: Node | None) -> Node | None:
    """Choose between two runs that enclose this code: the inner one began later."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda node: node.begun)


def find_above(parent_run_id: UUID | None) -> Node | None:
    """
    Find the run above: the one that LangChain names, else the one that encloses this code.

    The name may be LangSmith's own, or be lost where callbacks are given anew inside a chain. And
    of a model that asks another one LangChain does not know, so it names what is around both.
    """
    named = None if parent_run_id is None else registry.find(parent_run_id)
    return _inner(named or find_configured(), find_asking())


def find_asking() -> Node | None:
    """
    Find the open run of a model whose method begins a run of its own, such as another model's.

    Only where there may be one is it looked for on the stack.
    """
    return _on_stack(stack_above(ASKING_FRAMES))[1] if open_models() else None


def find_owner(frame: FrameType | None) -> Node | None:
    """Find the open model run that this very call is made for."""
    is_certain, node = _on_stack(frame)
    return node if is_certain else only_open("llm")


def _on_stack(frame: FrameType | None) -> tuple[bool, Node | None]:
    """Find the open run of the nearest method of a model, and say whether the stack is certain."""
    for _ in range(MAX_FRAMES):
        if frame is None:
            break
        run_id = run_of(frame)
        if run_id is not None:
            return True, registry.get(run_id)
        name = frame.f_code.co_name
        if name in CALLBACK_METHODS and frame.f_globals.get("__name__") == CALLBACKS:
            return True, None
        frame = frame.f_back
    return False, None


def run_of(frame: FrameType) -> UUID | None:
    """Give the id of the run that a frame holds, if it is of a model's method and has one."""
    if frame.f_code.co_name not in MODEL_METHODS or not _is_model(frame):
        return None
    run_id: UUID | None = getattr(frame.f_locals.get("run_manager"), "run_id", None)
    return run_id


def _is_model(frame: FrameType) -> bool:
    if str(frame.f_globals.get("__name__")).startswith(MODELS):
        return True
    return hasattr(frame.f_locals.get("self"), "_llm_type")


def only_open(kind: Kind) -> Node | None:
    """
    Find the one run of a kind that is open in the call of LangChain's around here.

    For a provider that makes its call in a thread or a task of its own, whose stack says nothing.
    """
    inside = scope.get()
    if inside is None or inside.kind != kind:
        return None
    nodes = [node for run_id in inside.run_ids if (node := registry.get(run_id)) is not None]
    return nodes[0] if len(nodes) == 1 else None
