"""
One line, and every chat completion of the process is a run.

    python examples/quickstart.py

With OPENAI_API_KEY in the environment it speaks to OpenAI, and without to a small fake server of
its own on this machine. It ends by showing what was recorded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

from openai import OpenAI

import instrument
from instrument.testing import FakeOpenAI

instrument.instrument()  # the one line

MODEL = "gpt-4o-mini"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Look up the weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string"}},
            "required": ["town"],
        },
    },
}


def plain(client: OpenAI) -> None:
    """Ask, and wait for the whole answer."""
    question = {"role": "user", "content": "What is the capital of Norway?"}
    answer = client.chat.completions.create(model=MODEL, messages=[question])
    print(answer.choices[0].message.content)


def streamed(client: OpenAI) -> None:
    """Ask, and print the answer as it comes."""
    question = {"role": "user", "content": "Count to five."}
    stream = client.chat.completions.create(
        model=MODEL, messages=[question], stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


@instrument.trace(kind="tool")
def weather(town: str) -> dict[str, Any]:
    """Look out of the window."""
    return {"town": town, "celsius": 4, "sky": "clear"}


@instrument.trace(kind="agent")
def forecast(client: OpenAI, question: str) -> str | None:
    """Let the model use a tool: two calls and the tool between them, in one trace."""
    messages: list[Any] = [{"role": "user", "content": question}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    message = answer.choices[0].message
    messages.append(message)
    for call in message.tool_calls or []:
        result = weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    return answer.choices[0].message.content


def script(server: FakeOpenAI) -> None:
    """Say what the fake server answers, in the order of the calls."""
    server.reply(text="Oslo is the capital of Norway.", delay=0.05)
    server.reply(text="One, two, three, four, five.", delay=0.02, pace=0.01)
    server.reply(tool_calls=[{"name": "weather", "arguments": {"town": "Oslo"}}], delay=0.04)
    server.reply(delay=0.06, text="Put on a coat: it is 4 °C in Oslo, under a clear sky.")


def connect(stack: ExitStack) -> OpenAI:
    """Make a client: of OpenAI with a key, else of the fake server."""
    if os.environ.get("OPENAI_API_KEY"):
        return OpenAI()
    server = stack.enter_context(FakeOpenAI())
    script(server)
    return OpenAI(base_url=server.url, api_key="no key needed")


def main() -> None:
    """Speak to the model in three ways, and show the traces."""
    with ExitStack() as stack:
        client = stack.enter_context(connect(stack))
        with instrument.context(user_id="ada", thread_id="quickstart"):
            plain(client)
            streamed(client)
            print(forecast(client, "Do I need a coat in Oslo?"))
    instrument.flush()
    sys.stdout.flush()  # what was printed so far stands above what `show` prints
    subprocess.run([sys.executable, "-m", "instrument", "show"], check=True)


if __name__ == "__main__":
    main()
