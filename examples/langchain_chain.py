"""
A chain, traced for one user by an attached handler.

    python examples/langchain_chain.py

With OPENAI_API_KEY in the environment it speaks to OpenAI, and without to a small fake server of
its own on this machine. Attaching the handler is all there is to do; it ends by showing the trace.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

import instrument
from instrument import CallbackHandler
from instrument.testing import FakeOpenAI


def main() -> None:
    """Translate a word, whole and streamed."""
    with ExitStack() as stack:
        given = {}
        if "OPENAI_API_KEY" not in os.environ:
            server = stack.enter_context(FakeOpenAI())
            server.reply(text="takk")
            server.reply(chunks=["god ", "dag"])
            given = {"base_url": server.url, "api_key": "none"}
        prompt = ChatPromptTemplate.from_messages(
            [("system", "Translate into Norwegian."), ("human", "{word}")]
        )
        chain = prompt | ChatOpenAI(model="gpt-4o-mini", **given) | StrOutputParser()

        handler = CallbackHandler(user_id="ada", thread_id="lesson-1", tags=["norwegian"])
        print(chain.invoke({"word": "thanks"}, {"callbacks": [handler]}))
        for piece in chain.stream({"word": "good day"}, {"callbacks": [handler]}):
            print(piece, end="", flush=True)
        print()


if __name__ == "__main__":
    main()
    instrument.flush()
    subprocess.run([sys.executable, "-m", "instrument", "show"], check=True)
