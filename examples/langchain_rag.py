"""
Retrieval: the documents that were found, and the answer they led to, in one trace.

    python examples/langchain_rag.py

With OPENAI_API_KEY in the environment it speaks to OpenAI, and without to a small fake server of
its own on this machine. The retriever counts words, to need nothing; it ends by showing the trace.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from langchain_openai import ChatOpenAI

import instrument
from instrument.testing import FakeOpenAI

instrument.instrument()  # the one line

NOTES = [
    Document("Oslo is the capital of Norway.", metadata={"page": 1}),
    Document("Bergen is known for its rain.", metadata={"page": 2}),
    Document("The fjord freezes in cold winters.", metadata={"page": 3}),
]


class WordRetriever(BaseRetriever):
    """Find the notes that share the most words with the question."""

    notes: list[Document]

    def _get_relevant_documents(self, query: str, **_: object) -> list[Document]:
        words = set(query.lower().strip("?").split())
        shared = {
            note.page_content: len(words & set(note.page_content.lower().strip(".").split()))
            for note in self.notes
        }
        return sorted(self.notes, key=lambda note: -shared[note.page_content])[:2]


def join(notes: list[Document]) -> str:
    """Put the notes into one text."""
    return "\n".join(note.page_content for note in notes)


def main() -> None:
    """Answer a question from the notes."""
    with ExitStack() as stack:
        given = {}
        if "OPENAI_API_KEY" not in os.environ:
            server = stack.enter_context(FakeOpenAI())
            server.reply(text="Oslo.")
            given = {"base_url": server.url, "api_key": "none"}
        prompt = ChatPromptTemplate.from_messages(
            [("system", "Answer from these notes:\n{notes}"), ("human", "{question}")]
        )
        retriever = WordRetriever(notes=NOTES)
        chain = (
            {"notes": retriever | join, "question": RunnablePassthrough()}
            | prompt
            | ChatOpenAI(model="gpt-4o-mini", **given)
            | StrOutputParser()
        )

        with instrument.context(user_id="ada"):
            print(chain.invoke("What is the capital of Norway?"))


if __name__ == "__main__":
    main()
    instrument.flush()
    subprocess.run([sys.executable, "-m", "instrument", "show"], check=True)
