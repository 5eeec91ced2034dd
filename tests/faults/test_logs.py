"""A whole run with everything going wrong, at DEBUG: what the logs say, and what they never do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the openai package is not installed")

from instrument.testing import FakeOpenAI
from tests.faults.runner import ROOT
from tests.transport.faultserver import GARBAGE, RESET, Answer, FaultServer

KEYS = {
    "OPENAI_API_KEY": "sk-openai-4701",
    "LUNARY_PRIVATE_KEY": "b0000000-0000-4000-8000-000000004702",
    "HH_API_KEY": "hh-4703",
    "NEBULY_API_KEY": "nb-4704",
    "TRUBRICS_API_KEY": "tr-4705",
    "INSTRUMENT_HASH_KEY": "hash-4706",
}
PROMPT, ANSWER, COMMENT = "platypus-4707", "ornithorhynchus-4708", "comment-4709"
TOKEN = "sk-proj-" + "a1B2" * 12
WORDS = [*KEYS.values(), PROMPT, ANSWER, COMMENT, TOKEN]

PROGRAM = """
import logging, sys, warnings
warnings.simplefilter("default")
logging.basicConfig(level=logging.DEBUG, filename=sys.argv[2])
logging.getLogger().addHandler(logging.StreamHandler())
logging.getLogger("openai").setLevel(logging.INFO)  # at DEBUG it writes the prompts itself
for name in ("httpx", "httpcore", "instrument"):
    logging.getLogger(name).setLevel(logging.DEBUG)

import instrument
from openai import OpenAI, OpenAIError

PROMPT, ANSWER, COMMENT, TOKEN, KEY = sys.argv[3:8]

def redact(value):
    if "refuse" in str(value):
        raise ValueError(str(value))
    return value

class Own:
    name, whole_traces = "own", False
    def wants(self, item):
        return True
    def write(self, items):
        raise OSError(f"no room for {items}")
    def close(self):
        raise OSError("cannot close")

from instrument.exporters._base import Limits
Own.limits = Limits()
names = ["llmonitor", "honeyhive", "nebuly", "trubrics", Own()]
instrument.instrument(exporters=names, spool=sys.argv[1], redact=redact, hash_user_ids=True)
if len(sys.argv) > 8:
    client = OpenAI(base_url=sys.argv[8], max_retries=1)
    ask = dict(model="gpt-4o", messages=[{"role": "user", "content": PROMPT + " " + TOKEN}])
    with instrument.context(user_id="u", user_props={"said": PROMPT}, metadata={"k": PROMPT}):
        with instrument.trace("turn", kind="agent", input=PROMPT) as turn:
            client.chat.completions.create(**ask)
            for chunk in client.chat.completions.create(**ask, stream=True):
                pass
            try:
                client.chat.completions.create(**ask)
            except OpenAIError:
                pass
            turn.output = ANSWER
        with instrument.trace("refuse", input="refuse " + PROMPT):
            pass
        try:
            with instrument.trace("raises"):
                raise RuntimeError(PROMPT + KEY)
        except RuntimeError:
            pass
        class Angry:
            def __getattr__(self, name):
                raise ValueError(PROMPT)
            def __repr__(self):
                raise ValueError(PROMPT)
        with instrument.trace("angry", input=Angry()) as run:
            run.output = {PROMPT: Angry()}
        instrument.feedback(turn.id, thumb="up", comment=COMMENT)
        instrument.track("event", properties={"said": PROMPT})
instrument.flush(1.0)
print(instrument.stats())
instrument.shutdown(0.5)
print(instrument.stats())
"""


def echo(status: int) -> Answer:
    """Answer with what was sent, as backends do in their errors."""
    return Answer(status, body=f'{{"message": "bad: {" ".join(WORDS)}"}}'.encode())


def test_no_words_in_any_log(tmp_path: Path) -> None:
    """Refused keys, retries, echoes, redaction, a spool: no log line has a prompt or a key."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    log = tmp_path / "debug.log"
    with (
        FakeOpenAI() as model,
        FaultServer(echo(503), RESET, echo(429), GARBAGE) as lunary,
        FaultServer(decide=lambda ids: echo(401)) as honeyhive,
        FaultServer(decide=lambda ids: echo(400)) as nebuly,
        FaultServer(echo(413), echo(422), echo(500)) as trubrics,
    ):
        model.reply(text=ANSWER)
        model.reply(text=ANSWER)
        model.reply(status=400, error={"message": f"bad: {PROMPT}"})
        urls = {
            "LUNARY_API_URL": lunary.url.removesuffix("/runs"),
            "HH_API_URL": honeyhive.url.removesuffix("/runs"),
            "NEBULY_ENDPOINT_URL": nebuly.url.removesuffix("/runs"),
            "TRUBRICS_HOST": trubrics.url.removesuffix("/runs"),
        }
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        for more in ([model.url], []):  # the second delivers what the first has left
            arguments = [str(tmp_path / "spool"), str(log), PROMPT, ANSWER, COMMENT, TOKEN]
            done = subprocess.run(
                [sys.executable, str(program), *arguments, KEYS["HH_API_KEY"], *more],
                env={**base, **KEYS, **urls},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            said = done.stdout + done.stderr + log.read_text()

            assert done.returncode == 0, done.stderr
            lines = said.splitlines()
            assert [line for line in lines if any(word in line for word in WORDS)] == []
        servers = (lunary, honeyhive, nebuly, trubrics)
        assert all(each.requests for each in servers)
    assert "401" in said
    assert "httpcore" in said
    assert "failed to deliver to own" in said
