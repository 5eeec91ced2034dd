"""JSON lines: what is written comes back, in files of bounded size."""

import json
import multiprocessing
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.exporters._base import LocalExporter
from instrument.exporters.jsonl import Jsonl, from_env, read
from instrument.run import ConfigError, Feedback, Trace, UserEvent
from tests.exporters.cases import BASE, GOLDEN, T0

RUNS = GOLDEN["chain"]()


def test_what_is_written_comes_back(tmp_path):
    """Every case is one line of JSON, and comes back as it was."""
    path = tmp_path / "deep" / "runs.jsonl"
    items = [run for case in GOLDEN.values() for run in case()]

    assert Jsonl(path).write(items) == {}
    assert list(read(path)) == items
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [item.id for item in items]


def test_feedback_and_events(tmp_path):
    """What users think and do stands in it as well; open runs and trees do not."""
    made = Jsonl(tmp_path / "runs.jsonl")
    told = [Feedback(run_id="r", at=T0, thumb="up"), UserEvent(name="Copy", at=T0, user_id="ada")]
    made.write(told)

    assert list(read(made.path)) == told
    assert all(map(made.wants, [*told, BASE]))
    assert not made.wants(replace(BASE, duration=None))
    assert not made.wants(Trace([BASE]))
    assert isinstance(made, LocalExporter)


def test_bounded_by_rotation(tmp_path):
    """Files have at most so many bytes, and there are at most so many; the oldest go."""
    made = Jsonl(tmp_path / "runs.jsonl", max_bytes=4_000, max_files=3)
    for number in range(60):
        made.write([replace(BASE, name=f"model-{number}")])

    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["runs.jsonl", "runs.jsonl.1", "runs.jsonl.2"]
    assert all(path.stat().st_size <= 4_000 for path in files)
    names = [run.name for path in reversed(files) for run in read(path)]
    assert names == [f"model-{number}" for number in range(60 - len(names), 60)]


def test_one_file(tmp_path):
    """With one file, that file is begun anew when it is full."""
    made = Jsonl(tmp_path / "runs.jsonl", max_bytes=2_000, max_files=1)
    for number in range(20):
        made.write([replace(BASE, name=f"model-{number}")])

    assert [path.name for path in tmp_path.iterdir()] == ["runs.jsonl"]
    assert [run.name for run in read(made.path)][-1] == "model-19"


def test_torn_line(tmp_path):
    """After a process that died in the middle of a line, the next line stands by itself."""
    made = Jsonl(tmp_path / "runs.jsonl")
    made.write(RUNS)
    whole = made.path.read_bytes()
    made.path.write_bytes(whole[:-40])
    made.write([BASE])

    assert list(read(made.path)) == [*RUNS[:-1], BASE]


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory, noise):
    """Reading passes over whatever is no item."""
    path = tmp_path_factory.mktemp("jsonl") / "runs.jsonl"
    path.write_bytes(noise.replace(b"\n", b"") + b"\n")
    Jsonl(path).write([BASE])

    assert list(read(path)) == [BASE]


def test_for_its_owner(tmp_path):
    """Nobody else may read the file."""
    made = Jsonl(tmp_path / "runs.jsonl")
    made.write([BASE])

    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600


def write_many(path, name):
    for _ in range(50):
        Jsonl(path).write([replace(BASE, name=name)] * 5)


@pytest.mark.skipif(sys.platform == "win32", reason="appending is not atomic there")
def test_several_processes(tmp_path):
    """Lines of several processes do not mix."""
    path = tmp_path / "runs.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(path, f"m{n}")) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(run.name for run in read(path)) == ["m0"] * 250 + ["m1"] * 250


def test_disk_trouble_is_raised(tmp_path):
    """What cannot be written now is raised, so that the lane tries again later."""
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(OSError, match="file"):
        Jsonl(blocked / "runs.jsonl").write([BASE])


def test_settings(tmp_path):
    """INSTRUMENT_JSONL names the file; what cannot be used is said at once."""
    assert from_env({"INSTRUMENT_JSONL": "x.jsonl"}).path == Path("x.jsonl").absolute()
    with pytest.raises(ConfigError, match="set INSTRUMENT_JSONL"):
        from_env({})
    with pytest.raises(ConfigError, match="is a folder"):
        Jsonl(tmp_path)
    with pytest.raises(ConfigError, match="more than 0"):
        Jsonl(tmp_path / "x", max_files=0)
