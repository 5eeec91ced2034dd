"""doctor: what works, what does not and what to do, with an exit code for scripts."""

import importlib.util
import json
import logging
import os
import subprocess
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import pytest

from instrument import cli, doctor
from instrument.exporters.sqlite import SqliteExporter
from instrument.testing.loopback import Loopback, Response
from tests.exporters.cases import run
from tests.fakes import honeyhive, nebuly, trubrics

ROOT = Path(__file__).resolve().parent.parent
KEY = "a-secret-key-0123456789"
APP = "11111111-2222-4333-8444-555555555555"
NEEDED = ("httpx", "httpcore", "h11", "anyio", "sniffio", "idna", "certifi", "typing_extensions")
NEEDED += ("orjson", "wrapt", "exceptiongroup")
"""What the package itself needs, by the names of its modules."""
VARIABLES = (
    *("TRUBRICS_API_KEY", "TRUBRICS_HOST", "NEBULY_API_KEY", "NEBULY_ENDPOINT_URL"),
    *("HH_API_KEY", "HH_API_URL", "LLMONITOR_APP_ID", "LUNARY_PUBLIC_KEY", "LUNARY_PRIVATE_KEY"),
    *("INSTRUMENT_EXPORTERS", "INSTRUMENT_JSONL", "INSTRUMENT_DISABLED", "INSTRUMENT_SPOOL_DIR"),
)


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No destination is set up, and the store is not there yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INSTRUMENT_STORE", str(tmp_path / "runs.db"))
    monkeypatch.setenv("COLUMNS", "200")
    yield
    logger = logging.getLogger("instrument")
    logger.handlers = [each for each in logger.handlers if type(each) is not logging.NullHandler]


def diagnose(capsys, *words):
    """Return the exit code and what is printed."""
    code = cli.main(["doctor", *words])
    return code, capsys.readouterr().out


@contextmanager
def backend(monkeypatch, fake, key, address, path=""):
    """Put a fake backend on loopback and its variables into the environment."""
    with Loopback(fake.answer) as server:
        monkeypatch.setenv(key, KEY)
        monkeypatch.setenv(address, f"http://127.0.0.1:{server.port}{path}")
        yield fake


def test_nothing_set_up(capsys):
    """With the local store alone all is well: versions, patches and a call that was recorded."""
    pytest.importorskip("openai")
    code, text = diagnose(capsys)

    assert code == 0
    assert "✓ openai call" in text
    assert "wrapped: request, _build_request, _should_retry, _process_response" in text
    assert "runs go to the local store" in text
    assert "there is none yet" in text
    assert text.endswith("all is well\n")


def test_langchain(capsys):
    """LangChain's hook is looked at, and a model of its own is run once."""
    pytest.importorskip("langchain_core")
    code, text = diagnose(capsys)

    assert "✓ langchain call" in text
    assert code == 0


@pytest.mark.parametrize(
    ("fake", "key", "address", "path", "route"),
    [
        (
            trubrics.Trubrics(keys=(KEY,)),
            "TRUBRICS_API_KEY",
            "TRUBRICS_HOST",
            "/api/ingestion",
            "/publish_llm_events: 200",
        ),
        (nebuly.Nebuly(key=KEY), "NEBULY_API_KEY", "NEBULY_ENDPOINT_URL", "", "/interactions: 20"),
        (honeyhive.HoneyHive(key=KEY), "HH_API_KEY", "HH_API_URL", "", "/events/batch: 200"),
    ],
    ids=["trubrics", "nebuly", "honeyhive"],
)
def test_probe_arrives(capsys, monkeypatch, fake, key, address, path, route):
    """Each backend gets one run, whole trees included, and its answer and the ledger are shown."""
    with backend(monkeypatch, fake, key, address, path):
        code, text = diagnose(capsys)

    assert code == 0, text
    assert route in text
    assert "1 accepted = 1 delivered + 0 queued" in text
    assert f"{key}=a-se…89" in text
    assert KEY not in text


def test_wrong_key(capsys, monkeypatch):
    """A key that is refused is a problem, with the backend's words and what to check."""
    fake = trubrics.Trubrics(keys=("other",))
    with backend(monkeypatch, fake, "TRUBRICS_API_KEY", "TRUBRICS_HOST", "/api/ingestion"):
        code, text = diagnose(capsys)

    assert code == 1
    assert "401" in text
    assert "Invalid API key" in text
    assert "the key is refused: check TRUBRICS_API_KEY" in text
    assert "1 to put right" in text


def test_an_answer_that_repeats_the_key(capsys, monkeypatch):
    """A backend that writes the key into its answer does not bring it onto the screen."""

    class Talkative:
        def answer(self, request):
            return Response(status=403, body=f"who is {KEY}?".encode())

    with backend(monkeypatch, Talkative(), "HH_API_KEY", "HH_API_URL"):
        code, text = diagnose(capsys)

    assert code == 1
    assert KEY not in text
    assert "who is a-se…89?" in text


def test_no_probe(capsys, monkeypatch):
    """With --no-probe nothing is sent, and settings are shown all the same."""
    fake = trubrics.Trubrics(keys=(KEY,))
    with backend(monkeypatch, fake, "TRUBRICS_API_KEY", "TRUBRICS_HOST", "/api/ingestion"):
        code, text = diagnose(capsys, "--no-probe")

    assert code == 0
    assert fake.posts == []
    assert "TRUBRICS_HOST=http://127.0.0.1" in text


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("INSTRUMENT_EXPORTERS", "nowhere", "no destination named 'nowhere'"),
        ("INSTRUMENT_EXPORTERS", "trubrics", "set TRUBRICS_API_KEY"),
        ("INSTRUMENT_DISABLED", "1", "nothing is traced"),
        ("INSTRUMENT_SAMPLE_RATE", "2", "INSTRUMENT_SAMPLE_RATE"),
    ],
)
def test_wrong_settings(capsys, monkeypatch, variable, value, sentence):
    """A setting that cannot be used is a problem, and the sentence says the remedy."""
    monkeypatch.setenv(variable, value)
    code, text = diagnose(capsys, "--no-probe")

    assert code == 1
    assert sentence in text


def test_json(capsys):
    """All of it as one object, whose `ok` is the exit code's."""
    code, text = diagnose(capsys, "--json", "--no-probe")
    found = json.loads(text)

    assert (code, found["ok"]) == (0, True)
    assert {"what": "sqlite", "state": "ok"}.items() <= found["destinations"][1].items()


def test_the_store(tmp_path, capsys):
    """What the store holds is said, and what is left open or was set aside."""
    exporter = SqliteExporter(tmp_path / "runs.db")
    exporter.write([run(), run(id="other", trace_id="other", duration=None)])
    exporter.close()
    (tmp_path / "runs.db.damaged-20260101-000000").touch()
    _, text = diagnose(capsys, "--no-probe")

    assert "2 runs, " in text
    assert "runs that never ended" in text
    assert "was set aside" in text


def test_not_a_store(tmp_path, capsys):
    """A file that is no store is a problem."""
    (tmp_path / "runs.db").write_text("no database " * 100)
    code, text = diagnose(capsys, "--no-probe")

    assert code == 1
    assert "✗ file" in text


def test_the_spool(tmp_path, capsys, monkeypatch):
    """What waits in the spool is said, where one is configured."""
    monkeypatch.setenv("INSTRUMENT_SPOOL_DIR", str(tmp_path / "spool"))
    assert "there is none yet" in diagnose(capsys, "--no-probe")[1]
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "a").write_bytes(b"x" * 2048)

    assert "1 file, 2 KiB" in diagnose(capsys, "--no-probe")[1]


def test_a_release_without_a_method():
    """A release of openai that has other names is a problem: less is recorded of its calls."""
    pytest.importorskip("openai")

    first, *_ = doctor.openai_findings(types.ModuleType)
    assert first.state == "problem"
    assert "SyncAPIClient.request" in first.text


def test_a_langchain_without_its_hook():
    """A release of LangChain without the hook is a problem."""
    pytest.importorskip("langchain_core")

    first, *_ = doctor.langchain_findings(types.ModuleType)
    assert first.text == "langchain_core.tracers.context has no register_configure_hook"


@pytest.mark.parametrize(
    ("package", "findings"),
    [("openai", doctor.openai_findings), ("langchain_core", doctor.langchain_findings)],
)
def test_an_sdk_that_cannot_be_imported(package, findings):
    """An SDK that is installed and broken is a problem, with its own words."""
    pytest.importorskip(package)

    def load(_):
        raise ImportError("no module named jiter")

    [finding] = findings(load)
    assert finding.state == "problem"
    assert "no module named jiter" in finding.text


def test_a_call_that_is_not_recorded():
    """A call that fails, or is seen by nobody, is a problem."""

    def fail():
        raise RuntimeError("broken")

    assert doctor.trial("call", fail).text == "failed: RuntimeError: broken"
    assert doctor.trial("call", lambda: None).text == "was recorded 0 times, not once"


HTML = "<!doctype html><html><body>Welcome</body></html>"


@pytest.mark.parametrize(
    ("reply", "said", "advice"),
    [
        (Response(status=500, body=b"oh no"), "500 oh no", "the backend itself fails"),
        (Response(status=503), "503", "would keep its runs and try again"),
        (Response(status=404), "404", "nothing is at this address: check LLMONITOR_API_URL"),
        (Response(status=301), "301", "set LLMONITOR_API_URL to where that is"),
        (Response(status=429, headers={"retry-after": "90"}), "429", "try again later"),
        (
            Response(body=HTML.encode(), headers={"content-type": "text/html"}),
            "200 <!doctype html>",
            "a web page answers, and no API: check LLMONITOR_API_URL",
        ),
        (Response(delay=30), "no answer: nothing within 0.6 s", "it may be overloaded"),
        (
            Response(ending="refuse"),
            "no answer: RemoteProtocolError",
            "whether it is http or https",
        ),
    ],
    ids=["500", "503", "404", "301", "429", "page", "slow", "hangs up"],
)
def test_what_an_answer_means(reply, said, advice):
    """Each way in which a backend fails is said with what to do about it."""
    with Loopback(lambda _: reply) as server:
        env = {"LLMONITOR_APP_ID": APP, "LLMONITOR_API_URL": f"http://127.0.0.1:{server.port}"}
        _, found = doctor.examine(env, probe=True, seconds=0.6)["destinations"]

    assert found.state == "problem"
    assert said in found.text
    assert advice in found.text


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_nobody_there(address):
    """A backend that is not there is a problem, after the time that is given to it."""
    env = {"HH_API_KEY": KEY, "HH_API_URL": address}
    _, found = doctor.examine(env, probe=True, seconds=1.0)["destinations"]

    assert found.state == "problem"
    assert "no answer: " in found.text
    assert "check HH_API_URL" in found.text or "nothing within" in found.text


def test_one_of_two_is_wrong(capsys, monkeypatch):
    """The wrong one is a problem, the other one is fine, and the exit code says 1."""
    wrong, right = trubrics.Trubrics(keys=("other",)), honeyhive.HoneyHive(key=KEY)
    with backend(monkeypatch, wrong, "TRUBRICS_API_KEY", "TRUBRICS_HOST", "/api/ingestion"):
        with backend(monkeypatch, right, "HH_API_KEY", "HH_API_URL"):
            code, text = diagnose(capsys)

    assert code == 1
    assert "✗ trubrics probe" in text
    assert "✓ honeyhive probe" in text
    assert "1 to put right" in text


@pytest.mark.parametrize(
    ("variable", "name"),
    [("INSTRUMENT_STORE", "runs.db"), ("INSTRUMENT_JSONL", "a"), ("INSTRUMENT_SPOOL_DIR", "spool")],
)
def test_where_nothing_can_be_written(capsys, monkeypatch, tmp_path, variable, name):
    """A store, a file of lines or a spool that cannot be written is a problem, with its variable."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path / "file" / name))
    code, text = diagnose(capsys, "--no-probe")

    assert code == 1
    assert "cannot be written: Not a directory" in text
    assert f"set {variable} to another" in text


def test_trying_to_write_leaves_nothing(tmp_path):
    """Neither a folder nor a file is made, and what is there stays as it is."""
    (tmp_path / "there").write_text("text")

    assert doctor.unwritable(tmp_path / "there") is None
    assert doctor.unwritable(tmp_path / "not" / "yet") is None
    assert (tmp_path / "there").read_text() == "text"
    assert [each.name for each in tmp_path.iterdir()] == ["there"]


def test_a_folder_for_others_alone(tmp_path):
    """A folder that this user may not write to is said to be that."""
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")

    assert doctor.unwritable(tmp_path / "runs.db") == "Permission denied"


def test_no_sdk(tmp_path):
    """Where there is nothing to trace, doctor says so and for which Python, and ends with 1."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    shared = tmp_path / "packages"
    shared.mkdir()
    for each in Path(importlib.util.find_spec("httpx").origin).parent.parent.iterdir():
        if each.name.startswith(NEEDED):
            (shared / each.name).symlink_to(each)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(shared)])}
    python = bare / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [python, "-m", "instrument", "doctor"]

    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 1, done.stderr
    assert "neither openai nor langchain-core is installed here" in done.stdout
    assert str(python) in done.stdout
