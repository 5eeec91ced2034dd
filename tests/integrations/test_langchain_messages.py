"""Whatever form LangChain gives a value, it is recorded in one form, and never changed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from uuid import UUID

import orjson
import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, SecretStr

from instrument.integrations.langchain.account import (
    Account,
    clean_params,
    describe_answer,
    read_answer,
)
from instrument.integrations.langchain.labels import kept_metadata
from instrument.integrations.langchain.messages import read
from instrument.integrations.langchain.shots import ROWS, take, take_answer
from instrument.integrations.langchain.usage import add_up
from instrument.recorder import Recorder
from instrument.run import Snapshot, Usage
from tests.integrations.langchain_fakes import FakeChat

CALL = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
CALLED = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
BIG = "QUJD" * 1000
MARKED = "<image/png, 3000 bytes, sha256 "


class Text(str):
    """A string of somebody's own."""

    __slots__ = ("more",)


@dataclass
class Resume:
    """Like a command of LangGraph's."""

    resume: object


class Config(BaseModel):
    """With a key in it."""

    name: str
    key: SecretStr


def seen(value):
    return orjson.loads(read(take(value)))


def test_messages_that_are_pairs():
    """LangChain takes a message as a pair of role and content, too, among others and with files."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BIG}"}}
    pairs = [("user", "hi"), ("ai", "yes"), HumanMessage("b"), ("human", "x" * 5000)]

    assert seen({"messages": pairs})["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "b"},
        {"role": "user", "content": "x" * 5000},
    ]
    assert seen({"messages": pairs[:2]})["messages"][0] == {"role": "user", "content": "hi"}
    (message,) = seen({"messages": [("human", [picture])]})["messages"]
    assert message["role"] == "user"
    assert MARKED in str(message["content"])
    other = {"messages": [["up", "down"], ["user", "a", "b"]], "rows": [["user", "ada"]]}
    assert seen(other) == other


PLAIN = {
    "human": (HumanMessage("hi"), {"role": "user", "content": "hi"}),
    "ai": (AIMessage("hi"), {"role": "assistant", "content": "hi"}),
    "chunk": (AIMessageChunk("hi"), {"role": "assistant", "content": "hi"}),
    "system": (SystemMessage("hi"), {"role": "system", "content": "hi"}),
    "chat": (ChatMessage("hi", role="critic"), {"role": "critic", "content": "hi"}),
    "named": (HumanMessage("hi", name="ada"), {"role": "user", "content": "hi", "name": "ada"}),
    "subclass of str": (HumanMessage(Text("hi")), {"role": "user", "content": "hi"}),
    "developer": (
        SystemMessage("hi", additional_kwargs={"__openai_role__": "developer"}),
        {"role": "developer", "content": "hi"},
    ),
    "tool": (
        ToolMessage("3", tool_call_id="c1"),
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
    ),
    "failed tool": (
        ToolMessage("no", tool_call_id="c1", name="add", status="error"),
        {"role": "tool", "content": "no", "name": "add", "tool_call_id": "c1", "is_error": True},
    ),
    "function": (
        FunctionMessage("3", name="add"),
        {"role": "function", "content": "3", "name": "add"},
    ),
    "tool call": (
        AIMessage("", tool_calls=[CALL]),
        {"role": "assistant", "content": "", "tool_calls": [CALLED]},
    ),
    "invalid tool call": (
        AIMessage(
            "", invalid_tool_calls=[{"name": "add", "args": "{", "id": "c1", "error": "cut"}]
        ),
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "add", "arguments": "{"},
                    "invalid": True,
                }
            ],
        },
    ),
    "refusal": (
        AIMessage("", additional_kwargs={"refusal": "no"}),
        {"role": "assistant", "content": "", "refusal": "no"},
    ),
    "legacy function call": (
        AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
        {
            "role": "assistant",
            "content": "",
            "function_call": {"name": "f", "arguments": "{}"},
        },
    ),
    "texts": (
        AIMessage([{"type": "text", "text": "a"}, "b"]),
        {"role": "assistant", "content": "ab"},
    ),
    "call among blocks": (
        AIMessage(
            [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "c1", "name": "add"}],
            tool_calls=[CALL],
        ),
        {"role": "assistant", "content": "a", "tool_calls": [CALLED]},
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_message(name):
    """Each kind of message comes to role, content and what else it has; itself it stays as it is."""
    message, expected = PLAIN[name]
    before = copy.deepcopy(message)

    assert seen([message]) == [expected]
    assert message == before


BLOCKS = {
    "reasoning": (
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "reasoning", "text": "hm"},
    ),
    "summary": (
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "reasoning", "text": "hm"},
    ),
    "thinking": (
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "reasoning", "text": "hm"},
    ),
    "long reasoning": (
        {"type": "reasoning", "reasoning": "hm " * 1000},
        {"type": "reasoning", "text": "hm " * 1000},
    ),
    "url": (
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    ),
    "0.3 url": (
        {"type": "image", "source_type": "url", "url": "https://x.test/a.png"},
        {"type": "image", "url": "https://x.test/a.png"},
    ),
    "0.3 id": (
        {"type": "file", "source_type": "id", "id": "file-1"},
        {"type": "file", "file_id": "file-1"},
    ),
    "1.x file": (
        {"type": "file", "file_id": "file-1", "mime_type": "application/pdf"},
        {"type": "file", "mime_type": "application/pdf", "file_id": "file-1"},
    ),
    "unknown": ({"type": "citation", "at": 3}, {"type": "citation", "at": 3}),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_block(name):
    """Each kind of block comes to one form."""
    block, expected = BLOCKS[name]

    assert seen(HumanMessage([{"type": "text", "text": "see"}, block]))["content"] == [
        {"type": "text", "text": "see"},
        expected,
    ]


PAYLOADS = {
    "data url": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BIG}"}},
    "0.3": {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": BIG},
    "1.x": {"type": "image", "base64": BIG, "mime_type": "image/png"},
    "anthropic": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": BIG},
    },
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_payload(name):
    """A file in base64 becomes a marker with type, size and hash; what was handed over stays."""
    block = PAYLOADS[name]
    before = copy.deepcopy(block)

    written = read(take([HumanMessage([block])]))

    assert MARKED in written.decode()
    assert BIG not in written.decode()
    assert block == before


def test_large_payload_is_not_copied():
    """The application's thread keeps a reference to a large file, not a copy of it."""
    shot = take([HumanMessage([{"type": "image", "base64": BIG * 1000, "mime_type": "image/png"}])])

    assert len(shot.data) < 1000
    assert len(shot) > len(BIG) * 1000


def test_later_changes_do_not_show():
    """What is recorded is what was there at that moment."""
    message = HumanMessage([{"type": "image_url", "image_url": {"url": "long " * 500}}])
    shot = take({"messages": [message]})
    message.content[0]["image_url"]["url"] = "changed"

    assert "changed" not in read(shot).decode()


def history():
    """The usual messages of an agent."""
    return [
        SystemMessage("be kind"),
        HumanMessage("hi"),
        AIMessage("", tool_calls=[copy.deepcopy(CALL)], additional_kwargs={"refusal": None}),
        ToolMessage("3", tool_call_id="c1"),
        AIMessage("three"),
    ]


HISTORY = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "", "tool_calls": [CALLED]},
    {"role": "tool", "content": "3", "tool_call_id": "c1"},
    {"role": "assistant", "content": "three"},
]
ODD = {
    "blocks": (
        HumanMessage([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BIG}"}}]),
        "image_url",
    ),
    "name": (HumanMessage("hi", name="ada"), "ada"),
    "failed tool": (ToolMessage("no", tool_call_id="c2", status="error"), "is_error"),
    "refusal": (AIMessage("", additional_kwargs={"refusal": "never"}), "never"),
    "tuple": (("human", "hello"), "hello"),
    "dictionary": ({"role": "user", "content": "hello"}, "hello"),
    "arguments": (AIMessage("", tool_calls=[{**CALL, "args": {"a": {1}}}]), "add"),
}


def remember_usual_messages():
    """Have the usual classes known, as they are after the first run of a process."""
    for message in history():
        take(message)


def test_history():
    """The messages of a list, alone or in a state, come to the same as one by one."""
    remember_usual_messages()

    assert seen(history()) == HISTORY
    assert seen({"messages": history()}) == {"messages": HISTORY}
    assert seen({"n": 1, "messages": history()}) == {"n": 1, "messages": HISTORY}
    assert seen({"a": history(), "b": history(), "c": []}) == {"a": HISTORY, "b": HISTORY, "c": []}


@pytest.mark.parametrize("name", ODD)
def test_odd_one_in_a_history(name):
    """One message that is more than its texts leaves the others as they are."""
    remember_usual_messages()
    odd, part = ODD[name]

    for value in ([*history(), odd], {"n": 1, "messages": [*history(), odd]}):
        told = seen(value)
        messages = told["messages"] if isinstance(told, dict) else told
        assert messages[: len(HISTORY)] == HISTORY
        assert part in str(messages[len(HISTORY) :])
        assert BIG not in str(messages)


def test_later_changes_of_a_history_do_not_show():
    """Whatever is changed in a message after it was seen, what is recorded stays."""
    remember_usual_messages()
    messages = history()
    shots = [take(messages), take({"messages": messages}), take({"n": 1, "messages": messages})]
    messages[0].content = "changed"
    messages[1].additional_kwargs["refusal"] = "changed"
    messages[2].tool_calls[0]["args"]["a"] = "changed"
    messages[2].tool_calls.append({**CALL, "name": "changed"})
    messages[3].tool_call_id = "changed"
    messages[4].content += " changed"
    messages.append(HumanMessage("changed"))

    for shot in shots:
        assert "changed" not in read(shot).decode()


def test_values_beside_a_message_are_not_compared():
    """What an application puts beside a text is not asked whether it is like something else."""
    remember_usual_messages()

    class Stubborn:
        def __eq__(self, other):
            raise ValueError("ask nothing")

        __hash__ = None

    message = HumanMessage("hi", additional_kwargs={"refusal": Stubborn()})

    assert seen([*history(), message])[-1]["content"] == "hi"


def test_history_weighs_what_it_holds():
    """What is kept by reference counts in the queue as if it were a copy."""
    remember_usual_messages()
    call = {**CALL, "args": {"code": "y" * 30_000}}
    messages = [HumanMessage("x" * 50_000), AIMessage("", tool_calls=[call])]

    assert len(take(messages)) > 80_000
    assert len(take({"messages": messages})) > 80_000


def test_history_that_holds_our_own_mark():
    """A message that has the key of a list of messages in it is written down as it is."""
    remember_usual_messages()
    block = {"type": "x", ROWS: 0}

    assert seen({"n": 1, "messages": [HumanMessage([block])]})["messages"][0]["content"] == [block]
    assert seen([HumanMessage("hi"), HumanMessage([block])])[1]["content"] == [block]


VALUES = {
    "document": (Document("snow", metadata={"p": 1}), {"text": "snow", "metadata": {"p": 1}}),
    "chat prompt": (
        ChatPromptValue(messages=[HumanMessage("hi")]),
        [{"role": "user", "content": "hi"}],
    ),
    "text prompt": (StringPromptValue(text="hi"), "hi"),
    "dataclass": (Resume(resume={"ok": True}), {"resume": {"ok": True}}),
    "tuples": ([("human", "hi")], [["human", "hi"]]),
    "removal": ([RemoveMessage(id="1"), HumanMessage("hi")], [{"role": "user", "content": "hi"}]),
    "class": (HumanMessage, "<pydantic._internal._model_construction.ModelMetaclass>"),
    "nan": ({"x": float("nan")}, {"x": None}),
    "deep in a state": (
        {"a": {"b": [AIMessage("", tool_calls=[CALL])]}},
        {"a": {"b": [{"role": "assistant", "content": "", "tool_calls": [CALLED]}]}},
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_value(name):
    """Documents, prompts, commands and states are written down field by field."""
    value, expected = VALUES[name]

    assert seen(value) == expected


def test_secret_is_not_written():
    """A secret's value is not written down, and of a model no more than its name."""
    assert "hush" not in read(take(Config(name="x", key="hush"))).decode()
    assert seen(FakeChat()) == "<tests.integrations.langchain_fakes.FakeChat>"


def test_cycle():
    """A value that holds itself ends somewhere."""
    value = {"messages": [HumanMessage("hi")]}
    value["self"] = value

    assert seen(value)["messages"] == [{"role": "user", "content": "hi"}]


KEYS = ("type", "text", "image_url", "__lc_message__", "__lc_long__", "content", "more", "args")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner | SCALARS) | st.dictionaries(st.sampled_from(KEYS), inner | SCALARS)
    ),
)


@given(ANYTHING)
def test_any_content(blocks):
    """No content of a message, however odd, makes reading it fail."""
    message = HumanMessage("")
    message.__dict__["content"] = blocks if isinstance(blocks, list) else [blocks]

    orjson.loads(read(take([message])))


METADATA = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_token_details": {"cache_read": 4, "audio": 1},
    "output_token_details": {"reasoning": 3, "audio": 2},
}
WHOLE = Usage(prompt=10, completion=5, total=15, cached=4, reasoning=3, audio_in=1, audio_out=2)
OPENAI = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 2},
}
TIERED = {
    **METADATA,
    "input_token_details": {"priority_cache_read": 4, "priority": 6, "audio": 1},
    "output_token_details": {"flex_reasoning": 3, "flex": 2, "audio": 2},
}


def answered(*messages, **more):
    """Tell what an answer comes to."""
    run = Recorder(lambda record: None).begin("llm", "gpt-4o")
    account = Account(run, UUID(int=1), (), {})
    generations = [
        ChatGeneration(message=message) if isinstance(message, AIMessage) else message
        for message in messages
    ]
    account.output = take_answer(LLMResult(generations=[generations], **more))
    return account.ended()


USAGES = {
    "message": answered(AIMessage("x", usage_metadata=METADATA)),
    "n > 1": answered(*[AIMessage("x", usage_metadata=METADATA)] * 3),
    "tier": answered(AIMessage("x", usage_metadata=TIERED)),
    "llm_output": answered(Generation(text="x"), llm_output={"token_usage": OPENAI}),
    "response_metadata": answered(AIMessage("x", response_metadata={"token_usage": OPENAI})),
    "usage": answered(AIMessage("x", response_metadata={"usage": OPENAI})),
}


@pytest.mark.parametrize("name", USAGES)
def test_usage(name):
    """Usage is read wherever a version has it, with its parts, and once for several choices."""
    assert USAGES[name]["usage"] == WHOLE


def test_absent_usage():
    """No usage is none, not zero."""
    assert answered(AIMessage("x"))["usage"] is None
    assert answered(AIMessage("x"), llm_output={"token_usage": {}})["usage"] is None


def test_usage_of_several_calls():
    """Several calls for one run add up; what none of them says stays absent."""
    assert add_up([Usage(prompt=1, total=2), None, Usage(prompt=3)]) == Usage(prompt=4, total=2)


def test_choices():
    """Several choices are a list of messages, one is a message."""
    assert orjson.loads(answered(AIMessage("a"), AIMessage("b"))["output"]) == [
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]


ANSWERS = {
    "text": AIMessage("x", usage_metadata=METADATA, response_metadata={"model_name": "m"}),
    "nothing": AIMessage(""),
    "half a character": AIMessage("x\ud83d"),
    "tool call": AIMessage("", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c1"}]),
    "broken call": AIMessage(
        "", invalid_tool_calls=[{"name": "f", "args": "{", "id": "c1", "error": None}]
    ),
    "blocks": AIMessage([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "x"}]),
    "name": AIMessage("x", name="ada"),
    "refusal": AIMessage("", additional_kwargs={"refusal": "no"}),
    "no refusal": AIMessage("x", additional_kwargs={"refusal": None}),
    "chunk": AIMessageChunk("x", usage_metadata=METADATA),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_one_answer_is_told_as_several_are(name):
    """Most answers are kept by their text: that changes nothing of what is told."""
    answered(ANSWERS[name])  # so that its class is known
    one, several = answered(ANSWERS[name]), answered(ANSWERS[name], ANSWERS[name])

    assert orjson.loads(several["output"]) == [orjson.loads(one["output"])] * 2
    assert one["usage"] == several["usage"]
    assert one["answer"].model == several["answer"].model


def test_answer_about_which_too_much_is_said():
    """A text is there also when what the provider said about it is more than is kept."""
    answer = AIMessage("x", response_metadata={"logprobs": [0.123456789] * 500_000})

    assert orjson.loads(answered(answer)["output"]) == {"role": "assistant", "content": "x"}


def test_answer_of_a_moment():
    """What the application does to an answer afterwards is not told; its text is no copy."""
    message = AIMessage("x" * 100, tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c1"}])
    response = LLMResult(generations=[[ChatGeneration(message=message)]])
    take_answer(response)
    taken, text = take_answer(response), message.content
    message.content = "other"
    message.tool_calls[0]["args"]["a"] = 2

    choices, _ = read_answer(taken)

    assert taken.text is text
    assert choices[0]["content"] == text
    assert choices[0]["tool_calls"][0]["args"] == {"a": 1}


def test_what_the_model_said():
    """Model, ids and finish reasons are found in the message's metadata; headers are not."""
    told = {
        "model_name": "gpt-4o-2024-08-06",
        "id": "chatcmpl-1",
        "finish_reason": "length",
        "system_fingerprint": "fp",
        "headers": {"set-cookie": "hush"},
    }
    shot = take_answer(
        LLMResult(generations=[[ChatGeneration(message=AIMessage("x", response_metadata=told))]])
    )
    answer = describe_answer(*read_answer(shot))

    assert (answer.model, answer.response_id) == ("gpt-4o-2024-08-06", "chatcmpl-1")
    assert answer.finish_reasons == ("length",)
    assert "hush" not in str(answer)


def test_metadata_is_plain():
    """What is kept of the metadata is JSON that any destination can write, whatever was given."""
    given = {
        "agent_name": "Tidy \ud83e",
        "langgraph_step": 2**70,
        "lc_source": object(),
        "key": "k",
    }

    assert kept_metadata(given) == {"agent_name": "Tidy ?", "langgraph_step": str(2**70)}
    assert kept_metadata({"key": "k"}) == {}


def test_what_can_run_is_its_name_in_an_answer():
    """A runnable among the arguments of a call may hold keys: it is told by its name alone."""
    message = AIMessage("", tool_calls=[{"name": "f", "args": {"by": 1}, "id": "c1"}])
    message.tool_calls[0]["args"]["by"] = RunnableLambda(len).bind(api_key="hush")
    answered(message)

    output = answered(message)["output"]

    assert b"RunnableBinding" in output
    assert b"hush" not in output


def test_parameters_without_keys():
    """What may be a key is left out of the parameters, and so is what is absent."""
    params = {
        "model": "gpt-4o",
        "temperature": 0,
        "stop": None,
        "max_tokens": 7,
        "openai_api_key": "hush",
        "azure_ad_token": "hush",
        "extra_headers": {"Authorization": "hush"},
    }

    kept = clean_params(Snapshot(orjson.dumps(params)))

    assert orjson.loads(kept) == {"temperature": 0, "max_tokens": 7}
