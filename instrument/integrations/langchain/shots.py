"""
What LangChain hands over, written down at once in the application's thread.

Messages, documents and graph objects are read from their `__dict__`, never dumped by their own
methods: that is many times faster, and changes nothing. A plain message takes its final form here;
one with blocks or tool calls is marked, and the worker converts it (`messages`).

A string needs no copy, because nobody can change it. So a long text inside a block is kept by
reference, and so are the texts of the messages in a list (`rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, final

from ...run import Snapshot
from ...snapshot import snapshot, type_name, unfold
from .replies import Reply, keep_reply
from .rows import MARK, USUAL, Rows, keep, roles

LONG: Final = "__lc_long__"
"""Key whose value is the number of a long text in `Shot.texts`."""

ROWS: Final = "__lc_rows__"
"""Key whose value is the number of a list of messages in `Shot.rows`."""

LONG_CHARS: Final = 1024
"""Characters from which on a text inside a content block is kept by reference."""

MAX_KINDS: Final = 1024
"""How many classes are remembered with the way to write them down."""

ROLES: Final = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "system": "system",
    "SystemMessageChunk": "system",
    "tool": "tool",
    "ToolMessageChunk": "tool",
    "function": "function",
    "FunctionMessageChunk": "function",
}

_PLAIN = {str, int, float, bool, type(None)}
_CALLS = ("tool_calls", "invalid_tool_calls")
_MORE = frozenset(
    {"refusal", "function_call", "tool_calls", "audio", "reasoning_content", "__openai_role__"}
)
_ANSWERED = ("content", "tool_calls", "invalid_tool_calls", "additional_kwargs")


@final
class Shot:
    """
    One value as it was: JSON, and what that refers to by number; its length is its weight in bytes.

    Attributes:
        texts: Long texts.
        rows: Lists of messages.
    """

    __slots__ = ("_size_bytes", "data", "rows", "texts")

    def __init__(self, data: Snapshot, texts: Sequence[str], rows: Sequence[Rows]) -> None:
        self.data = data
        self.texts = texts
        self.rows = rows
        self._size_bytes = len(data)
        for each in rows:
            self._size_bytes += each.size_bytes
        if texts:
            self._size_bytes += sum(map(len, texts))

    def __len__(self) -> int:
        return self._size_bytes


Taken: TypeAlias = "Snapshot | Shot | Rows | Reply"
"""A value as it was; JSON alone, a list of messages alone, or an answer, when that says all."""


def take(value: Any) -> Taken:
    """Write *value* down. Never raises and never changes it."""
    kind = type(value)
    if kind is str:
        return snapshot(value)
    if kind is list:
        rows = keep(value)
        if rows is not None:
            return rows
    elif kind is dict:
        if _PLAIN.issuperset(map(type, value.values())):
            return snapshot(value)
        alone = value.get("messages") if len(value) == 1 else None
        rows = keep(alone) if type(alone) is list else None
        if rows is not None:
            rows.is_state = True
            return rows
    return _Camera().take(value)


def take_answer(response: Any) -> Taken:
    """Write down what a model answered: the generations of one prompt, and what came with them."""
    prompts = response.generations if response is not None else None
    generations = prompts[0] if prompts else []
    llm_output = None if response is None else response.llm_output
    camera = _Camera()
    if len(generations) == 1:
        reply = keep_reply(generations[0], llm_output, camera.unfold)
        if reply is not None:
            return reply
    choices = [camera.choice(generation) for generation in generations]
    return camera.written([choices, llm_output])


def take_partial(response: Any) -> Taken | None:
    """
    Write down what had come of an answer that broke off; None when nothing had.

    LangChain makes an empty message for an error, with the whole reply in its metadata.
    """
    prompts = response.generations if response is not None else None
    if not prompts or not prompts[0]:
        return None
    message = getattr(prompts[0][0], "message", None)
    if message is not None and not any(map(message.__dict__.get, _ANSWERED)):
        return None
    return take_answer(response)


@final
class _Camera:
    __slots__ = ("rows", "texts")

    def __init__(self) -> None:
        self.texts: list[str] | None = None
        self.rows: list[Rows] | None = None

    def take(self, value: Any) -> Taken:
        if type(value) is list:
            value = self.items(value)
        elif type(value) is dict and list in map(type, value.values()):
            value = self.state(value)
        return self.written(value)

    def written(self, value: Any) -> Taken:
        """Write down what is laid out for it."""
        data = snapshot(value, self.unfold)
        if self.rows is None and self.texts is None:
            return data
        return Shot(data, self.texts or (), self.rows or ())

    def items(self, values: list[Any]) -> Any:
        """Keep a list that begins with a usual message by the texts of its messages."""
        rows = keep(values, self.write)
        if rows is None:
            return values
        if self.rows is None:
            self.rows = []
        self.rows.append(rows)
        return {ROWS: len(self.rows) - 1}

    def state(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """Do so with the lists in what nodes of a graph hand on."""
        kept = values.copy()
        for key, value in kept.items():
            if type(value) is list:
                kept[key] = self.items(value)
        return kept

    def write(self, message: Any) -> Snapshot:
        return snapshot(message, self.unfold)

    def unfold(self, value: Any) -> Any:
        try:
            shape = _shapes[type(value)]
        except KeyError:
            shape = _remember(type(value))
        return shape(self, value)

    def tool(self, message: Any) -> dict[str, Any]:
        fields = message.__dict__
        if fields.get("status") == "error" or not _is_bare(fields):
            of_tool = {name: fields.get(name) for name in ("tool_call_id", "status")}
            return {**self._marked("tool", fields), **of_tool}
        text = fields["content"]
        return {"role": "tool", "content": text, "tool_call_id": fields["tool_call_id"]}

    def message(self, message: Any) -> dict[str, Any]:
        fields = message.__dict__
        role = ROLES.get(fields["type"]) or fields.get("role") or fields["type"]
        if role != "remove" and _is_bare(fields) and not any(map(fields.get, _CALLS)):
            return {"role": role, "content": fields["content"]}
        return self._marked(role, fields)

    def choice(self, generation: Any) -> dict[str, Any]:
        fields = generation.__dict__
        if "message" not in fields:
            return {"text": fields["text"], "info": fields.get("generation_info")}
        message = fields["message"]
        if type(message) not in _shapes:
            _remember(type(message))  # so that `keep_reply` knows the next one
        told = message.__dict__
        marked = self._marked("assistant", told)
        marked["usage_metadata"] = told.get("usage_metadata")
        marked["response_metadata"] = of_provider = told.get("response_metadata")
        if not of_provider:
            marked["info"] = fields.get("generation_info")
        return marked

    def _marked(self, role: str, fields: dict[str, Any]) -> dict[str, Any]:
        get, content = fields.get, fields["content"]
        marked = {
            MARK: role,
            "content": content if isinstance(content, str) else self._blocks(content),
            "tool_calls": get("tool_calls"),
            "invalid_tool_calls": get("invalid_tool_calls"),
            "name": get("name"),
        }
        more = get("additional_kwargs")
        if more:
            marked["more"] = {name: self._lighten(more[name]) for name in more if name in _MORE}
        return marked

    def _blocks(self, content: Any) -> list[Any]:
        return [
            self._lighten(block)
            if isinstance(block, dict) and block.get("type") != "text"
            else block
            for block in content
        ]

    def _lighten(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._refer(value) if len(value) > LONG_CHARS else value
        if isinstance(value, dict):
            return {key: self._lighten(item) for key, item in value.items()}
        return value

    def _refer(self, text: str) -> dict[str, int]:
        if self.texts is None:
            self.texts = []
        self.texts.append(str.__str__(text))
        return {LONG: len(self.texts) - 1}

    def document(self, document: Any) -> dict[str, Any]:
        fields = document.__dict__
        written = {"text": fields["page_content"], "metadata": fields["metadata"]}
        return {**written, "id": fields["id"]} if fields.get("id") is not None else written

    def messages(self, prompt: Any) -> Any:
        return self.items(prompt.__dict__["messages"])

    def text(self, prompt: Any) -> Any:
        return prompt.__dict__["text"]

    def send(self, packet: Any) -> dict[str, Any]:
        return {"node": packet.node, "arg": packet.arg}

    def name(self, value: Any) -> str:
        return type_name(value)

    def other(self, value: Any) -> Any:
        return unfold(value)


def _is_bare(fields: dict[str, Any]) -> bool:
    """Say whether a message is, beside its tool calls, no more than a role and a text."""
    if not isinstance(fields["content"], str) or fields.get("name"):
        return False
    more = fields.get("additional_kwargs")
    return not more or all(value is None or name not in _MORE for name, value in more.items())


_Shape: TypeAlias = Callable[[_Camera, Any], Any]

_SHAPES: Final[dict[tuple[str, str], _Shape]] = {
    ("langchain_core.messages.tool", "ToolMessage"): _Camera.tool,
    ("langchain_core.messages.base", "BaseMessage"): _Camera.message,
    ("langchain_core.documents.base", "Document"): _Camera.document,
    ("langchain_core.prompt_values", "ChatPromptValue"): _Camera.messages,
    ("langchain_core.prompt_values", "StringPromptValue"): _Camera.text,
    ("langgraph.types", "Send"): _Camera.send,
    # What can run may hold keys and clients: its name says enough.
    ("langchain_core.runnables.base", "Runnable"): _Camera.name,
}

_shapes: dict[type, _Shape] = {}


def _remember(kind: type) -> _Shape:
    if len(_shapes) >= MAX_KINDS:
        _shapes.clear()
        roles.clear()
    names = [(base.__module__, base.__qualname__) for base in kind.__mro__]
    if names[0] in USUAL:
        roles[kind] = USUAL[names[0]]
    shape = next((_SHAPES[name] for name in names if name in _SHAPES), _Camera.other)
    _shapes[kind] = shape
    return shape
