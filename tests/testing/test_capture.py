"""capture() and the fixture `runs`: what a test's author reads, and that nothing else happens."""

import importlib.metadata
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from instrument import feedback, trace
from instrument.run import Usage
from instrument.snapshot import snapshot
from instrument.testing import FakeOpenAI, capture
from instrument.testing.view import RunView, ToolCall
from tests.exporters.cases import CALLS, GOLDEN, run, said

openai = pytest.importorskip("openai")

ROOT = Path(__file__).resolve().parents[2]


def ask(server, content, **options):
    """Make one call."""
    with openai.OpenAI(base_url=server.url, api_key="test", max_retries=0) as client:
        messages = [{"role": "user", "content": content}]
        return client.chat.completions.create(model="gpt-4o-mini", messages=messages, **options)


def agent(server):
    """Answer with the help of a tool."""
    with trace("forecast", kind="agent", input="Do I need a coat?") as answer:
        server.reply(tool_calls=[{"name": "weather", "arguments": {"town": "Oslo"}}])
        ask(server, "Do I need a coat?")
        with trace("weather", kind="tool", input={"town": "Oslo"}) as tool:
            tool.output = "4 degrees"
        server.reply(text="Yes.")
        ask(server, "4 degrees")
        answer.output = "Yes."


def test_a_call_reads_well():
    """What was asked, answered and counted are attributes with plain values."""
    with FakeOpenAI() as server, capture() as runs:
        server.reply(text="Paris")
        ask(server, "The capital of France?", temperature=0)

    [call] = runs.llm
    assert call.prompt == "The capital of France?"
    assert call.text == "Paris"
    assert call.messages == [{"role": "user", "content": "The capital of France?"}]
    assert call.params == {"temperature": 0}
    assert call.usage.prompt == 5
    assert call.name == "gpt-4o-mini"
    assert call.answer.model == "gpt-4o-mini-2024-07-18"
    assert repr(call) == "<llm gpt-4o-mini: 'The capital of France?' -> 'Paris'>"
    assert repr(runs) == f"[{call!r}]"
    assert call.status == "ok"


def test_an_agent_as_a_tree():
    """The tree is drawn by names alone, so that a test can compare it."""
    with FakeOpenAI() as server, capture() as runs:
        agent(server)

    assert runs.tree() == "agent forecast\n├─ gpt-4o-mini\n├─ tool weather\n└─ gpt-4o-mini"


def test_kinds_roots_and_children():
    """Model calls, tools and roots are at hand, and what is below a run."""
    with FakeOpenAI() as server, capture() as runs:
        agent(server)

    [root] = runs.roots
    assert (root.prompt, root.text) == ("Do I need a coat?", "Yes.")
    assert [each.name for each in runs.children(root)] == ["gpt-4o-mini", "weather", "gpt-4o-mini"]
    assert runs.llm[0].calls == [ToolCall("weather", {"town": "Oslo"})]
    assert runs.tools[0].text == "4 degrees"
    assert runs.children(runs.tools[0]) == []


def test_a_failed_call_in_the_tree():
    """What failed, and what is still open, says so behind its name."""
    with FakeOpenAI() as server, capture() as runs:
        with trace("outer", kind="chain"):
            server.reply(status=404)
            with pytest.raises(openai.NotFoundError):
                ask(server, "hi")

    assert runs.tree() == "chain outer\n└─ gpt-4o-mini  ✗ NotFoundError"
    assert runs.llm[0].status == "error"
    assert runs.llm[0].error.status == 404
    assert runs.llm[0].text == ""


def test_whatever_was_recorded_can_be_read():
    """Every golden case can be read by every name, and drawn."""
    for case in GOLDEN.values():
        for each in map(RunView, case()):
            assert isinstance(each.prompt + each.text + repr(each), str)
            assert isinstance(each.calls, list)


def test_several_choices_and_no_usage():
    """Texts are one for each choice; a count that nobody sent is None."""
    view = RunView(run(usage=None, output=snapshot([{"role": "assistant", "content": "a"}, CALLS])))

    assert view.texts == ["a", ""]
    assert view.usage == Usage()
    assert view == view.run
    assert len({view, RunView(view.run)}) == 1


def test_odd_tool_calls():
    """Arguments that are no JSON stay text; LangChain's and the older form are read as well."""
    broken = said(None, tool_calls=[{"function": {"name": "f", "arguments": '{"a'}}])
    older = said(None, function_call={"name": "g", "arguments": "[1]"})
    chain = said(None, tool_calls=[{"name": "h", "args": {"x": 1}}])

    found = [RunView(run(output=each)).calls for each in (broken, older, chain)]
    assert found == [[ToolCall("f", '{"a')], [ToolCall("g", [1])], [ToolCall("h", {"x": 1})]]


def test_what_is_beside_runs():
    """Feedback and other items go nowhere, and runs of a kind can be asked for."""
    with capture() as runs:
        with trace("docs", kind="retriever"):
            pass
        feedback(runs[0].id, thumb="up")

    assert [each.name for each in runs.of("retriever")] == ["docs"]


def test_open_runs_stand_in_the_tree():
    """A run that has not ended is drawn as open."""
    with capture() as runs, trace("outer", kind="chain"):
        assert runs.tree() in {"", "chain outer  ○ open"}

    assert runs.tree() == "chain outer"


def test_no_thread_and_nothing_left():
    """No thread begins, and after the block the SDK is as it was."""
    base = openai._base_client.SyncAPIClient
    before = threading.active_count(), base.__dict__["request"]
    with capture() as runs:
        with trace("x"):
            pass
        assert threading.active_count() == before[0]

    assert base.__dict__["request"] is before[1]
    assert len(runs) == 1


TEST = """
import sys

def test_runs(runs):
    from instrument import trace
    with trace("docs", kind="retriever"):
        pass
    assert runs.tree() == "retriever docs"

def test_other():
    loaded = {"openai", "langchain_core", "httpx", "instrument.testing.fake_openai", "sqlite3"}
    assert not loaded & set(sys.modules)
"""


def test_the_fixture(tmp_path):
    """The fixture `runs` is found by itself; whoever does not use it loads no SDK, client or server."""
    (tmp_path / "test_it.py").write_text(TEST)
    names = {each.value for each in importlib.metadata.entry_points(group="pytest11")}
    given = [] if "instrument.testing.plugin" in names else ["-p", "instrument.testing.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *given]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    if given:
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [*command, "test_it.py::test_other", "test_it.py::test_runs"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_entry_point_is_declared():
    """What installs the package tells pytest where the fixture is."""
    text = (ROOT / "pyproject.toml").read_text()

    assert '[project.entry-points.pytest11]\ninstrument = "instrument.testing.plugin"' in text
