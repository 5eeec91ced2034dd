"""The reader of requests: what was asked of whom, without payloads, at little cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.integrations.openai.chat import Asked, provider_of, read_request
from tests.integrations.chat_fixtures import DIGEST, PICTURE

OPENAI = "https://api.openai.com/v1/chat/completions"
AZURE = "https://x.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=1"
MESSAGES = [{"role": "user", "content": "Hé"}]
MARK = f"2048 bytes, sha256 {DIGEST}>"


def ask(url: str = OPENAI, **body: Any) -> Asked:
    """Read a request with this body."""
    return read_request(json.dumps(body).encode(), url=url)


def sent(part: Any) -> Any:
    """Give what the record keeps of one part of a message."""
    asked = ask(messages=[{"role": "user", "content": part}])
    return json.loads(asked.messages or b"null")[0]["content"]


def test_facts() -> None:
    """Model and messages are told apart from every other field, which all are parameters."""
    params = {"temperature": 0.2, "stop": None, "tools": [{"type": "function"}], "functions": []}
    streamed = {"stream": True, "stream_options": {"include_usage": True}, "n": 2, "user": "u"}
    asked = ask(model="m", messages=MESSAGES, **params, **streamed)

    assert json.loads(asked.messages or b"") == MESSAGES
    assert json.loads(asked.params or b"") == params | streamed
    assert (asked.model, asked.provider, asked.n) == ("m", "openai", 2)
    assert (asked.stream, asked.include_usage, asked.user_id) == (True, True, "u")


@pytest.mark.parametrize(
    ("body", "user"),
    [
        ({"user": "u", "safety_identifier": "s"}, "s"),
        ({"user": "u", "safety_identifier": ""}, "u"),
        ({"user": 7}, None),
        ({}, None),
    ],
)
def test_user(body: dict[str, Any], user: str | None) -> None:
    """The user is `safety_identifier`, else `user`, when that is a text."""
    assert ask(**body).user_id == user


def test_the_deployment_is_the_model() -> None:
    """Azure's URL names the model when the body does not, or is none."""
    assert ask(AZURE, messages=MESSAGES).model == "my gpt"
    assert ask(AZURE, model="m").model == "m"
    assert read_request(b"--boundary", url=AZURE) == Asked(provider="azure", model="my gpt")


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"null", b"{", b"\xff", b'"x"'])
def test_no_json_object(body: bytes) -> None:
    """A body that is no JSON object says nothing, and what the URL says is known."""
    assert read_request(body, url=OPENAI) == Asked(provider="openai")


def test_wrong_types() -> None:
    """Values of the wrong type say nothing."""
    asked = ask(model=7, messages=None, stream="yes", stream_options=[], user=[], n=True)

    assert (asked.model, asked.messages, asked.stream, asked.n) == (None, None, False, 1)
    assert (asked.include_usage, asked.user_id) == (False, None)


@given(st.binary(), st.text())
def test_arbitrary_bytes(body: bytes, url: str) -> None:
    """No bytes and no URL make the reader raise."""
    assert isinstance(read_request(body, url=url).provider, str)


def test_deep_and_odd_json() -> None:
    """Nesting beyond every limit, NaN and lone surrogates are written down as far as can be."""
    deep = b'{"model": "m", "messages": ' + b'[{"a":' * 400 + b"1" + b"}]" * 400 + b"}"
    odd = b'{"model": "m", "messages": ["a\\ud800"], "temperature": NaN}'

    assert read_request(deep, url=OPENAI).model == "m"
    assert json.loads(read_request(odd, url=OPENAI).messages or b"") == ["a?"]
    assert json.loads(read_request(odd, url=OPENAI).params or b"") == {"temperature": None}


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        (
            {"image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
            {"image_url": {"url": f"<image/png, {MARK}"}},
        ),
        (
            {"input_audio": {"data": PICTURE, "format": "wav"}},
            {"input_audio": {"data": f"<audio/wav, {MARK}", "format": "wav"}},
        ),
        (
            {"input_audio": {"data": PICTURE, "format": "mp3"}},
            {"input_audio": {"data": f"<audio/mpeg, {MARK}", "format": "mp3"}},
        ),
        (
            {"file": {"file_data": f"data:application/pdf;name=a.pdf;base64,{PICTURE}"}},
            {"file": {"file_data": f"<application/pdf, {MARK}"}},
        ),
        (
            {"source": {"media_type": "image/gif", "data": PICTURE}},
            {"source": {"media_type": "image/gif", "data": f"<image/gif, {MARK}"}},
        ),
        ({"blobs": [PICTURE]}, {"blobs": [f"<application/octet-stream, {MARK}"]}),
        (
            {"text": f"see ![it](data:image/png;base64,{PICTURE}) there"},
            {"text": f"see ![it](<image/png, {MARK}) there"},
        ),
        (
            {"data": "\n".join(PICTURE[at : at + 76] for at in range(0, len(PICTURE), 76))},
            {"data": f"<application/octet-stream, {MARK}"},
        ),
    ],
)
def test_payloads(part: dict[str, Any], kept: dict[str, Any]) -> None:
    """Base64 over the bound becomes a marker with the type, the size and the hash of the file."""
    assert sent([part]) == [kept]


@pytest.mark.parametrize(
    "part",
    [
        {"image_url": {"url": "https://example.com/" + "a" * 4000}},
        {"image_url": {"url": "data:image/png;base64," + PICTURE[:1000]}},
        {"input_audio": {"data": PICTURE[:1000], "format": "wav"}},
        {"type": "text", "text": "x" * 4000},
        {"type": "text", "text": "語" * 4000},
        {"type": "text", "text": "one word and another. " * 400},
    ],
)
def test_what_is_no_payload(part: dict[str, Any]) -> None:
    """URLs, small payloads and text of every kind stay as they are."""
    assert sent([part]) == [part]
    assert sent(part.get("text")) == part.get("text")


@given(st.integers(0, 3000), st.sampled_from(["", "data:image/png;base64,"]))
def test_no_payload_hides(before: int, prefix: str) -> None:
    """A payload is found wherever it stands in the body."""
    asked = ask(messages=[{"content": "a" * before}, {"data": prefix + PICTURE[:1024]}])

    assert b"<" in (asked.messages or b"")


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com:443", "openai"),
        ("x.openai.azure.com", "azure"),
        ("x.services.ai.azure.com", "azure"),
        ("API.GROQ.com", "groq"),
        ("openrouter.ai", "openrouter"),
        ("api.mistral.ai", "mistral"),
        ("adb-1.2.azuredatabricks.net", "databricks"),
        ("x.cloud.databricks.com", "databricks"),
        ("api.together.xyz", "together"),
        ("api.deepseek.com", "deepseek"),
        ("router.huggingface.co", "huggingface"),
        ("api.cerebras.ai", "cerebras"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock"),
        ("api.z.ai", "zai"),
        ("localhost:8080", "local"),
        ("127.0.0.1:9", "local"),
        ("[::1]:9", "local"),
        ("0.0.0.0", "local"),
        ("llm.example.com:8443", "llm.example.com"),
        ("notopenai.com", "notopenai.com"),
        ("10.0.0.7", "10.0.0.7"),
        ("", "unknown"),
        ("[", "unknown"),
    ],
)
def test_provider(host: str, provider: str) -> None:
    """The provider is named by the host; a host that nobody knows is its own name."""
    assert provider_of(f"https://{host}/v1/chat/completions") == provider
