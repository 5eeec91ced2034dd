"""
An agent that calls a tool, traced without touching its code.

    python examples/langchain_agent.py

With OPENAI_API_KEY in the environment it speaks to OpenAI, and without to a small fake server of
its own on this machine. It ends by showing the trace: the agent, its turns, the tool between them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import instrument
from instrument.testing import FakeOpenAI

instrument.instrument()  # the one line


@tool
def weather(town: str) -> str:
    """Look up the weather of a town."""
    return f"It snows in {town}."


def main() -> None:
    """Ask a question that needs the tool."""
    with ExitStack() as stack:
        given = {}
        if "OPENAI_API_KEY" not in os.environ:
            server = stack.enter_context(FakeOpenAI())
            server.reply(tool_calls=[{"name": "weather", "arguments": {"town": "Oslo"}}])
            server.reply(text="Take a warm coat: it snows in Oslo.")
            given = {"base_url": server.url, "api_key": "none"}
        model = ChatOpenAI(model="gpt-4o-mini", **given)
        agent = create_agent(model, tools=[weather], name="packing_help")

        with instrument.context(user_id="ada"):
            result = agent.invoke({"messages": [("user", "What shall I pack for Oslo?")]})
        print(result["messages"][-1].content)


if __name__ == "__main__":
    main()
    instrument.flush()
    subprocess.run([sys.executable, "-m", "instrument", "show"], check=True)
