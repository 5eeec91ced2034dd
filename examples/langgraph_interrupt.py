"""
A graph that pauses to ask a human, and is resumed.

    python examples/langgraph_interrupt.py

It needs no key: no model is called. The pause is no error, both parts carry the same thread, and
the values the graph asks with and is answered with are in the trace, which it ends by showing.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

import instrument

instrument.instrument()  # the one line


class Order(TypedDict, total=False):
    """What is ordered, and whether somebody said yes to it."""

    item: str
    price: int
    approved: bool


def price(order: Order) -> Order:
    """Look the price up."""
    return {"price": len(order["item"]) * 10}


def approve(order: Order) -> Order:
    """Ask a human."""
    answer = interrupt({"question": f"Buy {order['item']} for {order['price']}?"})
    return {"approved": answer == "yes"}


def main() -> None:
    """Order a lamp, and say yes."""
    builder = StateGraph(Order)
    builder.add_node("look_up", price)
    builder.add_node("approve", approve)
    builder.add_edge(START, "look_up")
    builder.add_edge("look_up", "approve")
    graph = builder.compile(checkpointer=InMemorySaver(), name="order")

    thread = {"configurable": {"thread_id": "order-1", "user_id": "ada"}}
    graph.invoke({"item": "lamp"}, thread)
    print("paused before:", graph.get_state(thread).next[0])
    print("approved:", graph.invoke(Command(resume="yes"), thread)["approved"])


if __name__ == "__main__":
    main()
    instrument.flush()
    subprocess.run([sys.executable, "-m", "instrument", "show"], check=True)
