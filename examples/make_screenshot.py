"""
Make the README's picture of the web page, from the real page over a store of made-up runs.

    python examples/make_screenshot.py [FOLDER]

Needs the extra `[view]`, `pip install playwright`, and a Chromium on the path; says so where one is
missing. The pictures go into FOLDER, else where we are.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

from instrument.exporters.sqlite import SqliteExporter
from instrument.run import Answer, Attempt, Error, Feedback, Item, Run, Snapshot, Usage

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUESTIONS = {
    "Where is my order 48213?": "It left our warehouse this morning and should be with you on Friday.",
    "Can I return shoes that I wore once?": "Yes, within 30 days, as long as the soles are clean.",
    "Summarise this ticket in one sentence.": "The customer was charged twice and wants one refund.",
    "Which plan has single sign-on?": "Single sign-on is part of the Business plan and above.",
    "Translate “Guten Abend” into Danish.": "“Godaften”.",
    "Write a SQL query for last month's revenue.": "SELECT sum(total) FROM orders WHERE ...",
}
USERS = ("ada@example.com", "grace@example.com", "linus@example.com", "margaret@example.com")
MODELS = ("gpt-4o-mini", "gpt-4o-mini", "gpt-4o", "o4-mini")
ANSWERED = {
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4o": "gpt-4o-2024-08-06",
    "o4-mini": "o4-mini-2025-04-16",
}


class Maker:
    """Runs of a made-up application, the same ones each time but for the day."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.random = random.Random(7)

    def id(self) -> str:
        """Make an id."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def run(
        self, begin: float, kind: Any, name: str, asked: Any, answered: Any, **more: Any
    ) -> Run:
        """Make a run that began so many seconds before now."""
        run_id = self.id()
        fields: dict[str, Any] = {"id": run_id, "trace_id": run_id, "parent_id": None, **more}
        return Run(
            kind=kind,
            name=name,
            started_at=self.now - timedelta(seconds=begin),
            input=snap(asked),
            output=None if answered is None else snap(answered),
            **fields,
        )

    def call(self, begin: float, messages: list[Any], answer: Any, **more: Any) -> Run:
        """Make a call of a model."""
        model = more.pop("model", "gpt-4o")
        duration = more.get("duration", 1.0)
        spent = Usage(len(json.dumps(messages)) // 4, 0 if answer is None else 24, None)
        fields: dict[str, Any] = {
            "duration": duration,
            "usage": None if answer is None else spent,
            "params": snap({"temperature": 0.2, "stream": True}),
            "answer": Answer(
                provider="openai",
                model=ANSWERED[model],
                finish_reasons=() if answer is None else ("stop",),
                response_id=f"chatcmpl-{self.id()[:8]}",
                stream=True,
                time_to_first_token=None if answer is None else duration * 0.35,
            ),
            **more,
        }
        return self.run(begin, "llm", model, messages, answer, **fields)

    def day(self) -> Iterator[Run]:
        """Make a day of questions, most of them in working hours, some of which fail."""
        for number in range(420):
            begin = self.random.uniform(120, 86_000)
            hour = (self.now - timedelta(seconds=begin)).hour
            if self.random.random() > 0.25 + 0.75 * math.exp(-(((hour - 13) / 4) ** 2)):
                continue
            question, answer = self.random.choice(list(QUESTIONS.items()))
            failed = self.random.random() < 0.035
            busy = Error("Rate limit reached for requests", "RateLimitError", status=429)
            yield self.call(
                begin,
                [system("You are the help desk of a shop."), user(question)],
                None if failed else assistant(answer),
                model=self.random.choice(MODELS),
                duration=self.random.lognormvariate(0.1, 0.6),
                error=busy if failed else None,
                user_id=self.random.choice(USERS),
                thread_id=f"chat-{number // 6}",
                tags=("help-desk",),
            )

    def agent(self, begin: float = 95.0) -> Iterator[Run]:
        """Make an agent with tools, one of which fails and is tried again."""
        question = "Find me a quiet hotel in Bergen for two nights from the 14th, under 180 euros."
        told = [system("You plan trips. Use the tools."), user(question)]
        search = {"city": "Bergen", "nights": 2, "from": "2026-03-14", "max_price": 180}
        found = [
            {"name": "Hotel Park", "price": 172, "quiet": True},
            {"name": "Zander K", "price": 149},
        ]
        booked = {"hotel": "Hotel Park", "nights": 2}
        final = "Hotel Park has a quiet double room for 172 € a night. Shall I book both nights?"
        root = self.run(
            begin,
            "agent",
            "trip_planner",
            {"question": question},
            {"answer": final},
            duration=9.4,
            user_id="ada@example.com",
            thread_id="trip-bergen",
            tags=("beta",),
            metadata={"plan": "pro", "release": "2026.3"},
        )

        def child(parent: Run, run: Run) -> Run:
            fields = {"trace_id": root.id, "parent_id": parent.id}
            whose = {"user_id": root.user_id, "thread_id": root.thread_id}
            return Run(**{**fields_of(run), **fields, **whose})

        yield root
        calls = assistant(None, tool_calls=[tool_call("search_hotels", search)])
        yield child(root, self.call(begin - 0.1, told, calls, duration=1.9))
        tool = self.run(begin - 2.1, "tool", "search_hotels", search, found, duration=2.7)
        tool = child(root, tool)
        yield tool
        vector = self.run(begin - 2.2, "retriever", "hotel_index", "quiet hotel Bergen", DOCUMENTS)
        yield child(tool, Run(**{**fields_of(vector), "duration": 0.42}))
        told = [
            *told,
            calls,
            {"role": "tool", "tool_call_id": "call_1", "content": json.dumps(found)},
        ]
        check = assistant(None, tool_calls=[tool_call("check_rooms", booked, "call_2")])
        yield child(root, self.call(begin - 4.9, told, check, duration=1.2))
        error = Error("the booking service did not answer within 1.5 s", "TimeoutError", STACK)
        yield child(
            root,
            self.run(begin - 6.2, "tool", "check_rooms", booked, None, duration=1.5, error=error),
        )
        free = {"free": True, "rooms": 3}
        yield child(root, self.run(begin - 7.8, "tool", "check_rooms", booked, free, duration=0.3))
        told = [
            *told,
            check,
            {"role": "tool", "tool_call_id": "call_2", "content": json.dumps(free)},
        ]
        last = self.call(begin - 8.1, told, assistant(final), duration=1.25)
        tries = Answer(
            **{**fields_of(last.answer), "attempts": (Attempt(0.01, 429), Attempt(0.4, 200))}
        )
        yield child(root, Run(**{**fields_of(last), "answer": tries}))

    def conversation(self, begin: float = 40.0, turns: int = 14) -> Run:
        """Make a long conversation, with a picture in it."""
        messages = [system("You are a patient cook. " + "Answer in short sentences. " * 130)]
        picture = {
            "type": "image_url",
            "image_url": {"url": "<image/jpeg, 184320 bytes, sha256 5f2c>"},
        }
        ask = {"type": "text", "text": "What went wrong with this bread?"}
        messages += [{"role": "user", "content": [ask, picture]}, assistant("It rose too long.")]
        for number in range(turns):
            messages.append(user(f"And step {number + 1}?"))
            messages.append(
                assistant(f"{number + 1}. Fold the dough once, and let it rest an hour.")
            )
        messages.append(user("Give me the whole recipe as a list."))
        answer = assistant(RECIPE, reasoning_content="They want all of it at once. Keep it short.")
        return self.call(begin, messages, answer, duration=4.3, user_id=USERS[1], thread_id="bread")

    def unfinished(self) -> Iterator[Run]:
        """Make a run that is still open, and an answer that was left early."""
        yield self.call(
            6.0, [user("Plan my week around three runs.")], None, duration=None, user_id=USERS[2]
        )
        half = assistant("Once upon a time there was a fox who")
        yield self.call(
            22.0,
            [user("Tell me a long story.")],
            half,
            duration=2.2,
            partial="closed",
            user_id=USERS[3],
        )


def fields_of(value: Any) -> dict[str, Any]:
    """Take a frozen value apart."""
    return {name: getattr(value, name) for name in value.__slots__}


def snap(value: Any) -> Snapshot:
    """Write a value as JSON."""
    return Snapshot(json.dumps(value, ensure_ascii=False).encode())


def system(text: str) -> dict[str, Any]:
    """Write a message of the program."""
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, Any]:
    """Write a message of the user."""
    return {"role": "user", "content": text}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    """Write a message of the model."""
    return {"role": "assistant", "content": text, **more}


def tool_call(name: str, arguments: Any, call_id: str = "call_1") -> dict[str, Any]:
    """Write the call of a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": call_id, "type": "function", "function": function}


DOCUMENTS = [
    {"page_content": "Hotel Park: an old villa on a side street; rooms to the garden are quiet."},
    {"page_content": "Zander K: beside the station; ask for a room above the fifth floor."},
]
STACK = """Traceback (most recent call last):
  File "trips/tools.py", line 41, in check_rooms
    reply = client.get("/rooms", timeout=1.5)
TimeoutError: the booking service did not answer within 1.5 s"""
RECIPE = """Here it is:

1. Mix 500 g flour, 350 g water, 10 g salt and 2 g yeast.
2. Fold after 30 minutes, three times.
3. Let it rise overnight in the fridge.
4. Bake at 240 °C for 45 minutes, the first 25 under a lid."""


def everything(now: datetime) -> list[Item]:
    """Make all runs, and what somebody thought of one."""
    maker = Maker(now)
    agent = list(maker.agent())
    liked = Feedback(run_id=agent[0].id, at=now, thumb="up", comment="exactly what I wanted")
    return [*maker.day(), *agent, maker.conversation(), *maker.unfinished(), liked]


def fill(path: Path, now: datetime) -> None:
    """Write all runs into a store."""
    exporter = SqliteExporter(path)
    exporter.write(everything(now))
    exporter.close()


def photograph(url: str, chromium: str, folder: Path) -> Iterator[Path]:
    """Take pictures of the list, and of the agent's trace."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        size: Any = {"width": 1280, "height": 800}
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=2)
            page.goto(url)
            yield shot(page, folder / f"page-{scheme}.png")
            page.get_by_role("link", name="trip_planner").click()
            yield shot(page, folder / f"trace-{scheme}.png")
            page.close()
        browser.close()


def shot(page: Any, path: Path) -> Path:
    """Take one picture."""
    page.wait_for_load_state("load")
    page.screenshot(path=path)
    return path


def main() -> None:
    """Fill a store, serve it, and take the pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        print("no pictures: there is no Chromium on the path")
        return
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch, "runs.db")
        fill(store, datetime.now(timezone.utc))
        code = f"from instrument import viewer; viewer.serve({str(store)!r}, open_browser=False)"
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = next(line for line in server.stdout if line.startswith("http"))
            for path in photograph(url.strip(), chromium, folder):
                print(path)
            server.terminate()


if __name__ == "__main__":
    main()
