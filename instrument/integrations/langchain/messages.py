"""
LangChain's messages -> role and content, as every destination knows them. Runs on the worker.

Every shape that a message has had since 0.3 comes to the same: a text, or a list of blocks in
which files are a marker; tool calls in OpenAI's form; reasoning as a block of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import orjson

from ...media import holds_payload, without_payloads
from ...run import JSON, Snapshot
from ...snapshot import clean, snapshot
from .replies import Reply, choice_of
from .rows import MARK, Rows, lay_out
from .shots import LONG, ROWS, Shot, Taken

_MARKED: Final = f'"{MARK}"'.encode()

_PAIRS: Final = b'"messages":[["'

ROLES: Final = {
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
}
"""What LangChain calls them in a message that is a pair of role and content."""

CALLS: Final = frozenset(
    {"tool_use", "tool_call", "tool_call_chunk", "function_call", "input_json_delta"}
)
"""Blocks that repeat what the message has among its tool calls."""

REASONING: Final = ("reasoning", "thinking", "text", "reasoning_content")
"""Where the text of a reasoning block may stand."""

FILES: Final = frozenset({"image", "audio", "video", "file", "text-plain"})
"""Blocks that hold a file, or say where it is."""


def read(shot: Taken) -> Snapshot:
    """Give what was written down, with every marked message converted and every payload marked."""
    if isinstance(shot, Rows):
        messages = [convert(item) for item in lay_out(shot)]
        value: JSON = {"messages": messages} if shot.is_state else list(messages)
    elif isinstance(shot, Reply):
        value = convert(choice_of(shot)[0])
    elif isinstance(shot, Shot):
        value = convert(orjson.loads(shot.data), shot.texts, shot.rows)
    elif shot.find(_MARKED) >= 0 or shot.find(_PAIRS) >= 0 or holds_payload(shot):
        value = convert(orjson.loads(shot))
    else:
        return shot
    return snapshot(without_payloads(value))


def convert(value: JSON, texts: Sequence[str] = (), rows: Sequence[Rows] = ()) -> JSON:
    """Convert the marked messages anywhere in *value*, and put back what was kept beside it."""
    if isinstance(value, list):
        return [convert(item, texts, rows) for item in value if not _removal(item)]
    if not isinstance(value, dict):
        return value
    number = value.get(LONG)
    if isinstance(number, int) and 0 <= number < len(texts):
        return clean(texts[number])
    number = value.get(ROWS)
    if isinstance(number, int) and 0 <= number < len(rows):
        # What is in a row has no rows of its own, whatever it says.
        return [convert(item, texts) for item in lay_out(rows[number]) if not _removal(item)]
    converted: dict[str, JSON] = {
        key: item if key == MARK else convert(item, texts, rows) for key, item in value.items()
    }
    if MARK in converted:
        return message(converted)
    if isinstance(said := converted.get("messages"), list):
        converted["messages"] = [_message_of_pair(item) for item in said]
    return converted


def _message_of_pair(item: JSON) -> JSON:
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and item[0] in ROLES:
        return {"role": ROLES[item[0]], "content": content(item[1])}
    return item


def _removal(value: JSON) -> bool:
    return isinstance(value, dict) and value.get(MARK) == "remove"


def message(fields: dict[str, JSON]) -> dict[str, JSON]:
    """Give a marked message its final form."""
    more = fields.get("more")
    extra: dict[str, JSON] = more if isinstance(more, dict) else {}
    result: dict[str, JSON] = {
        "role": extra.get("__openai_role__") or fields[MARK],
        "content": content(fields.get("content")),
    }
    for name in ("name", "tool_call_id"):
        if fields.get(name):
            result[name] = fields[name]
    calls = tool_calls(fields, extra)
    if calls:
        result["tool_calls"] = calls
    for name in ("function_call", "refusal", "reasoning_content", "audio"):
        if extra.get(name):
            result[name] = extra[name]
    if fields.get("status") == "error":
        result["is_error"] = True
    return result


def tool_calls(fields: dict[str, JSON], extra: dict[str, JSON]) -> list[JSON]:
    """List the tool calls of a message in OpenAI's form, broken ones with `invalid`."""
    calls: list[JSON] = [_tool_call(call) for call in _list(fields.get("tool_calls"))]
    broken = _list(fields.get("invalid_tool_calls"))
    calls.extend({**_tool_call(call), "invalid": True} for call in broken)
    return calls or _list(extra.get("tool_calls"))


def _tool_call(call: JSON) -> dict[str, JSON]:
    told = call if isinstance(call, dict) else {}
    arguments = told.get("args")
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else orjson.dumps(arguments).decode()
    function: JSON = {"name": told.get("name"), "arguments": arguments}
    return {"id": told.get("id"), "type": "function", "function": function}


def _list(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []


def content(value: JSON) -> JSON:
    """Join content that is all text; else give a list of blocks."""
    if not isinstance(value, list):
        return value
    blocks = [block for item in value if (block := _block(item)) is not None]
    if all(block.get("type") == "text" for block in blocks):
        return "".join(str(block["text"]) for block in blocks)
    return list(blocks)


def _block(item: JSON) -> dict[str, JSON] | None:
    if isinstance(item, str):
        return {"type": "text", "text": item}
    if not isinstance(item, dict):
        return None
    kind = item.get("type")
    if not isinstance(kind, str):
        return item
    return None if kind in CALLS else _BLOCKS.get(kind, _other)(item)


def _text(block: dict[str, JSON]) -> dict[str, JSON]:
    return {"type": "text", "text": block.get("text") or ""}


def _reasoning(block: dict[str, JSON]) -> dict[str, JSON]:
    text = next((block[name] for name in REASONING if block.get(name)), None)
    if isinstance(text, dict):
        text = text.get("text")
    if text is None:
        parts = [part.get("text") for part in _list(block.get("summary")) if isinstance(part, dict)]
        text = "\n".join(part for part in parts if isinstance(part, str))
    return {"type": "reasoning", "text": text}


def _file(block: dict[str, JSON]) -> dict[str, JSON]:
    """Read a file block of LangChain 0.3 (`source_type`), of 1.x, or of Anthropic (`source`)."""
    source = block.get("source")
    told = {**block, **source} if isinstance(source, dict) else block
    nested = told.get("file")
    if isinstance(nested, dict):
        told = {**told, **nested}
    result: dict[str, JSON] = {"type": block["type"]}
    mime_type = told.get("mime_type") or told.get("media_type")
    if mime_type:
        result["mime_type"] = mime_type
    for name in ("url", "file_id", "filename", "text"):
        if told.get(name):
            result[name] = told[name]
    if not told.get("file_id") and told.get("id") and "source_type" in told:
        result["file_id"] = told["id"]
    data = told.get("base64") or told.get("data") or told.get("file_data")
    if isinstance(data, str):
        result["data"] = data
    return result


def _other(block: dict[str, JSON]) -> dict[str, JSON]:
    return block


_BLOCKS: Final[dict[str, Callable[[dict[str, JSON]], dict[str, JSON]]]] = {
    "text": _text,
    "reasoning": _reasoning,
    "thinking": _reasoning,
    "reasoning_content": _reasoning,
    **dict.fromkeys(FILES, _file),
}
