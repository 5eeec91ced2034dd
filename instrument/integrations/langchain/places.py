"""
Where a run stands, and for whom it is made.

Three things may enclose it: the run that LangChain names, the one that LangChain's own context
variable names, and a block of the application's own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from ...context import UNBOUND, Bound, Place, bound, current, merge
from ...recorder import OpenRun
from .labels import NOBODY, Who, find_configurable, read_who, who_in_batch
from .nodes import Node, Source, registry, scope

COMPOSED: Final = ("RunnableSequence", "RunnableParallel")
"""How the names of runs begin in which LangChain itself calls what is below, with their config."""


def find_configured() -> Node | None:
    """Find the open run of LangChain's that encloses this code."""
    config = _configs[0].get() if _configs or _find_variable() else None
    callbacks = None if config is None else config.get("callbacks")
    run_id = getattr(callbacks, "parent_run_id", None)
    return None if run_id is None else registry.get(run_id)


_configs: list[Any] = []
"""LangChain's context variable with the `config` of the call around, once that is imported."""


def _find_variable() -> bool:
    module = sys.modules.get("langchain_core.runnables.config")
    variable = getattr(module, "var_child_runnable_config", None)
    if variable is not None:
        _configs.append(variable)
    return bool(_configs)


def find_place(above: Node | None) -> Place | None:
    """
    Choose between LangChain's run and the application's own: the inner one began later.

    Both enclose this code, so one of them encloses the other.
    """
    own = current.get()
    place = None if above is None else above.place
    if place is None:
        return own
    if isinstance(own, OpenRun) and isinstance(place, OpenRun) and own.is_open:
        return own if place.offset() > own.offset() else place
    return place


def identify(node: Node, run: OpenRun, metadata: Mapping[str, Any], given: Any) -> None:
    """
    Say for whom the run is made: LangChain's metadata, over it the handler's, over it the context.

    What a run does not say, it has from the config of its own call, which the application may have
    given it, and else from the run above. In a batch that begins at a root, the config is known by
    what is *given* to the run.
    """
    above, own = node.above, read_who(metadata) if metadata else NOBODY
    node.seen, node.labelled = bound.get(), own
    if above is None:
        if own.user_id is None or own.thread_id is None:
            own = fill(own, _configured(given))
        node.who, node.around = own, run.bound
        if own is NOBODY and node.said is UNBOUND:
            return
    else:
        if own is not NOBODY and own == above.labelled:
            own = NOBODY  # it came down from there, where something nearer may have said more
        if above.run is None or not above.run.name.startswith(COMPOSED):
            own = fill(own, read_who(find_configurable(is_root=False)))
        node.who = who = above.who if own is NOBODY else fill(own, above.who)
        same = node.seen is above.seen
        node.around = above.around if same else merge(above.around, node.seen)
        alike = node.said is above.said and (who is above.who or who == above.who)
        if same and alike and above.run is not None:
            run.bound = above.run.bound
            return
    run.bound = _lay(node)


def _configured(given: Any) -> Who:
    """Find for whom a root that is *given* this is made, in the config of its call."""
    told, inside = find_configurable(is_root=True), scope.get()
    if told or inside is None or inside.batch is None:
        return read_who(told)
    return who_in_batch(inside.batch, given)


def fill(who: Who, other: Who) -> Who:
    """Take from *other* what *who* does not say."""
    if who is NOBODY or other is NOBODY:
        return other if who is NOBODY else who
    return Who(
        who.user_id or other.user_id,
        who.thread_id or other.thread_id,
        who.user_props or other.user_props,
    )


def _lay(node: Node) -> Bound:
    who = node.who
    told = UNBOUND if who == NOBODY else Bound(who.user_id, who.user_props, who.thread_id)
    return merge(merge(told, node.said), node.around)


def adopt(node: Node, source: Source) -> None:
    """Let another handler that sees the same run add what it was made with."""
    if node.run is not None and source.said is not UNBOUND and source.said is not node.said:
        node.said = merge(node.said, source.said)
        node.run.bound = _lay(node)
