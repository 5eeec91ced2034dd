"""preview and send: stored traces as the requests they become, delivered once."""

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import jsonschema
import pytest

from instrument import backfill, cli, destinations
from instrument.exporters._base import HttpExporter
from instrument.exporters.honeyhive import HoneyHive
from instrument.exporters.sqlite import SqliteExporter
from instrument.run import ConfigError, Feedback, UserEvent
from instrument.snapshot import snapshot
from instrument.testing.loopback import Loopback, Response
from tests.exporters.cases import CHAIN, GOLDEN, LLM, T0, run
from tests.exporters.contract import validators
from tests.fakes import honeyhive, lunary, nebuly, trubrics

KEY = "a-secret-key-0123456789"
NOW = datetime.now(timezone.utc) - timedelta(minutes=10)
SCHEMAS = {
    "nebuly": "nebuly.v2.trace_interaction",
    "honeyhive": "honeyhive.events_batch.legacy",
    "trubrics": "trubrics.publish_llm_events",
    "llmonitor": "lunary.report",
}


def recent(runs, minutes=0):
    """Move runs into the last hour, so that the store keeps them."""
    return [
        replace(each, started_at=each.started_at - T0 + NOW + timedelta(minutes=minutes))
        for each in runs
    ]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with a call and, later, a chain of several runs; no destination's key is set."""
    for name in ("TRUBRICS", "NEBULY", "HH"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    path = tmp_path / "runs.db"
    exporter = SqliteExporter(path)
    plain = [replace(each, id=each.trace_id, trace_id=each.trace_id) for each in GOLDEN["plain"]()]
    lone = "99999999-9999-4999-8999-999999999999"
    exporter.write([replace(each, id=lone, trace_id=lone) for each in recent(plain)])
    exporter.write(recent(GOLDEN["chain"](), minutes=1))
    exporter.close()
    monkeypatch.setenv("INSTRUMENT_STORE", str(path))
    return path


def add(path, *items):
    exporter = SqliteExporter(path)
    exporter.write(items)
    exporter.close()


def bodies(text):
    """Read what `preview` prints: head and body of each request."""
    requests = text.split("\nPOST ")
    return [json.loads(each.partition("\n\n")[2]) for each in requests]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_preview_needs_no_key(store, capsys, name):
    """The newest trace is printed as requests that the destination's schema allows."""
    assert cli.main(["preview", "--to", name]) == 0

    said = capsys.readouterr()
    [validator, *_] = validators(SCHEMAS[name].partition(".")[0])[SCHEMAS[name]]
    for body in bodies(said.out):
        if "<" not in json.dumps(body):  # where the placeholder stands in the body
            validator.validate(body)
    assert destinations.PLACEHOLDER not in said.out
    assert "is not set, so a placeholder stands for it" in said.err
    assert isinstance(validator, jsonschema.Draft202012Validator)


def test_preview_is_what_is_sent(store, capsys, monkeypatch):
    """What is printed is, byte for byte as JSON, what the server then gets."""
    monkeypatch.setenv("TRUBRICS_API_KEY", KEY)
    with serving(monkeypatch) as server:
        cli.main(["preview", "--to", "trubrics", "--limit", "2"])
        printed = capsys.readouterr().out
        cli.main(["send", "--to", "trubrics"])

    assert [events for _, _, events in server.posts] == bodies(printed)


def test_keys_are_masked(store, capsys, monkeypatch):
    """A key that is set is shown by its ends alone, in headers and bodies."""
    monkeypatch.setenv("TRUBRICS_API_KEY", KEY)
    cli.main(["preview", "--to", "trubrics"])

    said = capsys.readouterr()
    assert KEY not in said.out + said.err
    assert "X-Api-Key: a-se…89" in said.out


def test_preview_says_what_is_left_out(store, capsys):
    """What the destination has no place for is counted by its reason, and nothing is printed."""
    add(store, *recent([run(id=LLM, trace_id=LLM, user_id=None)], minutes=9))

    assert cli.main(["preview", "--to", "trubrics"]) == 1
    assert "1 not sent: no_user" in capsys.readouterr().err


def test_preview_is_safe_to_print(store, capsys):
    """Characters that do something to a terminal are written as JSON can, and mean the same."""
    text = "a\x9bb\u202ec"
    asked = snapshot([{"role": "user", "content": text}])
    add(store, *recent([run(id=LLM, trace_id=LLM, input=asked)], minutes=9))
    cli.main(["preview", "--to", "trubrics"])

    printed = capsys.readouterr().out
    assert not set("\x9b\u202e") & set(printed)
    assert bodies(printed)[0][0]["prompt"] == text


@contextmanager
def serving(monkeypatch, fake=None):
    """Put a fake Trubrics on loopback and say where it is."""
    fake = fake or trubrics.Trubrics(keys=(KEY, "another-key-0123456"))
    with Loopback(fake.answer) as server:
        monkeypatch.setenv("TRUBRICS_HOST", f"http://127.0.0.1:{server.port}/api/ingestion")
        monkeypatch.setenv("TRUBRICS_API_KEY", KEY)
        yield fake


def sent(server):
    """Return the runs that a fake Trubrics holds."""
    return [event["properties"]["run_id"] for _, _, events in server.posts for event in events]


def test_send_once(store, capsys, monkeypatch):
    """A second send finds nothing new; later runs go alone; --again repeats all."""
    with serving(monkeypatch) as server:
        assert cli.main(["send", "--to", "trubrics"]) == 0
        assert "2 items = 2 delivered" in capsys.readouterr().out
        assert cli.main(["send", "--to", "trubrics"]) == 0
        assert "nothing new to send" in capsys.readouterr().out
        later = "88888888-8888-4888-8888-888888888888"
        add(store, *recent([run(id=later, trace_id=later)], minutes=5))
        cli.main(["send", "--to", "trubrics"])
        assert sent(server)[2:] == [later]
        cli.main(["send", "--to", "trubrics", "--again"])

    assert len(sent(server)) == 3 + 3


def test_another_project_gets_all(store, monkeypatch):
    """What was sent to one project is not known of another."""
    with serving(monkeypatch) as server:
        cli.main(["send", "--to", "trubrics"])
        monkeypatch.setenv("TRUBRICS_API_KEY", "another-key-0123456")
        cli.main(["send", "--to", "trubrics"])

    assert len(sent(server)) == 4


def test_since(store, monkeypatch):
    """Only traces that began since then are sent."""
    with serving(monkeypatch) as server:
        cli.main(["send", "--to", "trubrics", "--since", (NOW + timedelta(seconds=30)).isoformat()])

    assert sent(server) == [LLM]


def test_feedback_and_events(store, monkeypatch):
    """What users did and thought is sent as well, and once."""
    add(
        store,
        UserEvent(name="Sign Up", at=NOW, user_id="ada"),
        Feedback(run_id=LLM, at=NOW + timedelta(minutes=2), thumb="up"),
    )
    with serving(monkeypatch) as server:
        cli.main(["send", "--to", "trubrics"])
        cli.main(["send", "--to", "trubrics"])

    plain = [
        each["event"]
        for route, _, events in server.posts
        if route == "publish_events"
        for each in events
    ]
    assert sorted(plain) == ["Feedback", "Sign Up"]


def test_wrong_key(store, capsys, monkeypatch):
    """A key that is refused ends with exit code 1 and the reason, and nothing counts as sent."""
    with serving(monkeypatch, trubrics.Trubrics(keys=("other",))) as server:
        assert cli.main(["send", "--to", "trubrics"]) == 1
        said = capsys.readouterr().out
        server.keys = (KEY,)
        assert cli.main(["send", "--to", "trubrics"]) == 0

    assert "2 not delivered" in said
    assert "401" in said
    assert len(sent(server)) == 2


def test_server_that_stumbles(store, monkeypatch):
    """A server that fails for a moment gets everything at the next try."""
    with serving(monkeypatch, trubrics.Trubrics(keys=(KEY,), failures=[503])) as server:
        assert cli.main(["send", "--to", "trubrics"]) == 0

    assert len(sent(server)) == 2


@pytest.mark.parametrize(
    ("name", "fake", "count"),
    [("nebuly", nebuly.Nebuly, 2), ("honeyhive", honeyhive.HoneyHive, 4)],
)
def test_other_destinations(store, capsys, monkeypatch, name, fake, count):
    """Whole trees and single runs both arrive, once."""
    fake = fake()
    keys = {
        "nebuly": ("NEBULY_API_KEY", "NEBULY_ENDPOINT_URL"),
        "honeyhive": ("HH_API_KEY", "HH_API_URL"),
    }
    with Loopback(fake.answer) as server:
        for variable, value in zip(
            keys[name], ("key", f"http://127.0.0.1:{server.port}"), strict=True
        ):
            monkeypatch.setenv(variable, value)
        assert cli.main(["send", "--to", name]) == 0
        assert f"{count} items = {count} delivered" in capsys.readouterr().out
        assert cli.main(["send", "--to", name]) == 0
        assert "nothing new to send" in capsys.readouterr().out


def test_llmonitor_parents_first(store, monkeypatch):
    """A server that forgets children which come before their parents keeps every link."""
    fake = lunary.Lunary()

    def answer(request):
        headers = {name.lower(): value for name, value in request.headers}
        status, given, body = fake.answer(request.method, request.path, headers, request.body)
        return Response(status=status, headers=given, body=body)

    with Loopback(answer) as server:
        monkeypatch.setenv("LLMONITOR_API_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("LLMONITOR_APP_ID", lunary.PROJECT)
        assert cli.main(["send", "--to", "llmonitor"]) == 0

    parents = {row_id: row.parent_run_id for row_id, row in fake.rows.items()}
    assert parents[LLM] == CHAIN
    assert len(parents) == 4


def test_open_traces_wait(store, capsys, monkeypatch):
    """A trace that has not ended is left for later, and that is said."""
    add(store, *recent([run(id=LLM[:-1] + "9", trace_id=LLM[:-1] + "9", duration=None)], minutes=3))
    with serving(monkeypatch) as server:
        cli.main(["send", "--to", "trubrics"])

    assert "1 trace still open" in capsys.readouterr().out
    assert len(sent(server)) == 2


@pytest.mark.parametrize("command", ["preview", "send"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nowhere", "no destination named"), ("console", "on this machine")],
)
def test_wrong_destination(store, capsys, command, name, sentence):
    """A destination that is not there, or not a backend, is named with the remedy."""
    assert cli.main([command, "--to", name]) == 1
    assert sentence in capsys.readouterr().err


def test_no_key(store, capsys):
    """Sending needs the key, and the sentence says which."""
    assert cli.main(["send", "--to", "trubrics"]) == 1
    assert "set TRUBRICS_API_KEY" in capsys.readouterr().err


def test_witness_is_an_exporter():
    """What watches an exporter is one, and passes on what a reply left to be sent again."""
    made, arrived = HoneyHive("key", cost=None), []
    witness = backfill.Witness(made, arrived.extend)
    runs = [run(id=LLM), run(id=CHAIN)]
    [request] = witness.encode(runs, ()).requests
    half = Response(status=500, body=json.dumps({"event_ids": [LLM]}).encode())

    assert isinstance(witness, HttpExporter)
    witness.verdict(request, reply(half))
    assert [item.id for item in arrived] == [LLM]


def reply(response):
    from instrument.exporters._base import Response as Reply

    return Reply(response.status, {}, response.body)


def test_settings_are_found_by_being_read():
    """A destination's settings are the variables that it asks for, keys masked."""
    env = {"HH_API_KEY": KEY, "HH_PROJECT": "shop", "HOME": "/root"}
    found = destinations.find("honeyhive", env)

    assert found.shown == {"HH_API_KEY": "a-se…89", "HH_PROJECT": "shop"}
    assert (
        found.fingerprint != destinations.find("honeyhive", {**env, "HH_PROJECT": "x"}).fingerprint
    )
    assert destinations.mask("short") == "…"
    with pytest.raises(ConfigError, match="no destination named"):
        destinations.find("nowhere", env)
