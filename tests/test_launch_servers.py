"""Servers under `instrument run`: every worker's runs arrive, and nothing is left behind."""

import os
import signal
import time

import pytest

from instrument.testing import FakeOpenAI
from tests.fakes import lunary
from tests.programs import ASKS, answers, environment, write
from tests.served import Served, wait_for

pytest.importorskip("openai", reason="the programs call it")
if os.name == "nt":
    pytest.skip("POSIX signals and forks", allow_module_level=True)

ASGI = """
import asyncio
from asks import ask
async def app(scope, receive, send):
    if scope["type"] == "http":
        text = await asyncio.to_thread(ask)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})
"""
WSGI = """
from asks import ask
def app(environ, start_response):
    text = ask().encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]
"""
UVICORN = ["uvicorn", "asgi:app", "--port", "PORT"]
GUNICORN = ["gunicorn", "wsgi:app", "--bind", "127.0.0.1:PORT", "--workers", "2"]

WORKERS = {
    "preload": [*GUNICORN, "--preload"],
    "gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "2", "--max-requests", "9"],
    "asgi": ["-m", *GUNICORN, "--worker-class", "uvicorn.workers.UvicornWorker"],
}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "asks.py", ASKS)
    write(tmp_path, "asgi.py", ASGI)
    write(tmp_path, "wsgi.py", WSGI)
    return tmp_path


@pytest.fixture
def env():
    with FakeOpenAI() as server:
        yield environment(server.url)


def workers(served: Served) -> set[str]:
    """Name the processes that have answered."""
    return {text.split()[2] for text in served.answers}


@pytest.mark.parametrize("way", WORKERS)
def test_gunicorn(folder, env, way):
    """Two workers of each kind, forked from a loaded application or not, deliver on SIGTERM."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed: it is in [dev]")
    words = WORKERS[way]
    if way == "asgi":
        pytest.importorskip("uvicorn.workers", reason="this uvicorn has no worker for gunicorn")
        words = ["asgi:app" if word == "wsgi:app" else word for word in words]
    with Served(folder, env, *words) as served:
        served.get_until(lambda: len(workers(served)) > 1 and len(served.answers) > 24)
        code = served.end()

        assert code == 0, served.output()
        assert wait_for(served.is_gone)
        assert answers(folder) == sorted(served.answers)


def test_gunicorn_worker_that_is_killed(folder, env):
    """Another worker comes for one that is killed, is traced, and so is what came before."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed: it is in [dev]")
    with Served(folder, env, *GUNICORN) as served:
        served.get_until(lambda: len(workers(served)) == 2)
        wait_for(lambda: answers(folder) == sorted(served.answers))
        os.kill(int(served.answers[-1].split()[2]), signal.SIGKILL)
        time.sleep(0.1)
        served.get_until(lambda: len(workers(served)) == 3)

        assert served.end() == 0
        assert answers(folder) == sorted(served.answers)


def test_gunicorn_to_a_backend(folder, env):
    """Over HTTP to a backend too, each worker from its own process: all stored, none twice."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed: it is in [dev]")
    backend = lunary.Lunary()
    with lunary.serve(backend) as origin:
        place = {"LLMONITOR_API_URL": origin, "LLMONITOR_APP_ID": lunary.PROJECT}
        with Served(folder, {**env, **place}, *GUNICORN) as served:
            served.get_until(lambda: len(workers(served)) > 1 and len(served.answers) > 24)
            served.end()

        stored = [row.output["content"] for row in backend.rows.values()]
        assert sorted(stored) == sorted(served.answers)
        assert not backend.lost


def test_uvicorn(folder, env):
    """What was recorded last arrives too, though uvicorn ends itself by the signal it was sent."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: it is in [view]")
    with Served(folder, env, *UVICORN) as served:
        served.get_until(lambda: len(served.answers) > 24)

        assert served.end() == -signal.SIGTERM
        assert answers(folder) == sorted(served.answers)


def test_uvicorn_workers(folder, env):
    """Each of two workers delivers at the end."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: it is in [view]")
    with Served(folder, env, *UVICORN, "--workers", "2") as served:
        served.get_until(lambda: len(workers(served)) > 1 and len(served.answers) > 24)

        assert served.end() == 0
        assert wait_for(served.is_gone)
        assert answers(folder) == sorted(served.answers)


def test_uvicorn_reload(folder, env):
    """After an edit the new process is traced as the old one was, and Ctrl-C ends all of them."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: it is in [view]")
    with Served(folder, env, *UVICORN, "--reload") as served:
        served.get_until(lambda: len(served.answers) > 12)
        first = workers(served)
        write(folder, "asgi.py", ASGI.replace("text.encode()", "text.encode() + b' edited'"))
        served.get_until(lambda: served.answers[-1].endswith("edited"))
        served.get_until(lambda: len(workers(served)) > 1)

        assert first < workers(served)
        assert served.end(signal.SIGINT, group=True) == 0, served.output()
        assert wait_for(served.is_gone)
        said = sorted(text.removesuffix(" edited") for text in served.answers)
        assert answers(folder) == said
