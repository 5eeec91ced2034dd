"""The store keeps every run through other processes, crashes, damage and its own bounds."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from instrument.codec import encode
from instrument.exporters import _sqlite_schema, sqlite
from instrument.exporters._base import LocalExporter
from instrument.exporters.sqlite import SqliteExporter, from_env, store_path
from instrument.guard import guard, notices
from instrument.run import (
    Answer,
    ConfigError,
    Error,
    Exchange,
    Feedback,
    Run,
    Snapshot,
    Trace,
    Usage,
    UserEvent,
)
from instrument.store import Filters, Store, StoreError

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.now(timezone.utc)


def a_run(run_id: str = "r", **fields: Any) -> Run:
    """Make an ended llm run, a trace by itself, of which a test says what matters to it."""
    given: dict[str, Any] = {
        "id": run_id,
        "trace_id": run_id,
        "parent_id": None,
        "kind": "llm",
        "name": "gpt-4o",
        "started_at": NOW,
        "duration": 1.0,
    }
    return Run(**{**given, **fields})


@pytest.fixture
def path(tmp_path):
    """Name a store that is not there yet."""
    return tmp_path / "folder" / "runs.db"


@pytest.fixture
def exporter(path):
    """Make an exporter to it, closed at the end."""
    made = SqliteExporter(path)
    yield made
    made.close()


def rows(path: Path, query: str) -> list[Any]:
    """Ask a store behind the back of everybody."""
    db = sqlite3.connect(path)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def process(code: str, *args: object) -> subprocess.Popen[str]:
    """Run code in a process of its own."""
    lines = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(lines, cwd=ROOT, text=True, stdin=-1, stdout=-1, stderr=-1)


WRITER = """
    import sys, time
    from datetime import datetime, timezone
    from instrument.exporters.sqlite import SqliteExporter
    from instrument.run import Run, Snapshot
    path, name, count, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    exporter, made = SqliteExporter(path), 0
    while made < count:
        now = datetime.now(timezone.utc)
        runs = [
            Run(id=f"{name}-{made + i}", trace_id=f"{name}-{made}", parent_id=None, kind="llm",
                name="gpt-4o", started_at=now, duration=1.0, input=Snapshot(b'"x"' * 1))
            for i in range(10)
        ]
        try:
            exporter.write(runs)
        except Exception as error:
            if "locked" not in str(error):
                raise
            continue
        made += 10
        print(made, flush=True)
        time.sleep(pause)
"""


def test_is_an_exporter(exporter):
    """It is a local exporter that wants runs, open and ended, and what is said about them."""
    assert isinstance(exporter, LocalExporter)
    assert exporter.wants(a_run(duration=None))
    assert exporter.wants(Feedback(run_id="r", at=NOW))
    assert exporter.wants(UserEvent(name="Sign Up", at=NOW))
    assert not exporter.wants(Trace([a_run()]))
    assert sqlite.ENV == ()


def test_where_it_is(tmp_path, monkeypatch):
    """The variable names the file, else it is in a folder where the program was started."""
    monkeypatch.chdir(tmp_path)

    assert store_path({}) == tmp_path / ".instrument" / "runs.db"
    assert store_path({"INSTRUMENT_STORE": ""}) == tmp_path / ".instrument" / "runs.db"
    assert from_env({"INSTRUMENT_STORE": "a.db"}).path == tmp_path / "a.db"


@pytest.mark.parametrize("bounds", [{"max_bytes": 0}, {"max_age": -1.0}])
def test_bounds_are_checked(path, bounds):
    """A bound that would keep nothing is a mistake, and said to be one."""
    with pytest.raises(ConfigError, match="more than 0"):
        SqliteExporter(path, **bounds)


def test_a_folder_is_no_store(tmp_path):
    """A path that is a folder is a mistake in the settings."""
    with pytest.raises(ConfigError, match="must be a file"):
        SqliteExporter(tmp_path)


def test_makes_nothing_before_the_first_write(path):
    """Making an exporter touches no disk."""
    SqliteExporter(path).close()

    assert not path.parent.exists()


def test_for_the_owner_alone(exporter, path):
    """Folder and files are readable by their owner alone, and git overlooks them, itself too."""
    exporter.write([a_run()])

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o077 for each in path.parent.glob("runs.db*")} == {0}
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_leaves_a_folder_of_the_user_alone(tmp_path):
    """In a folder that was there before, nothing is hidden from git."""
    exporter = SqliteExporter(tmp_path / "runs.db")
    exporter.write([a_run()])
    exporter.close()

    assert not (tmp_path / ".gitignore").exists()


def test_everything_comes_back(exporter, path):
    """What was written is read back as it was."""
    items = [
        a_run("r", usage=Usage(prompt=3), tags=("a", "b"), metadata={"k": [1]}),
        Feedback(run_id="r", at=NOW, thumb="up"),
        UserEvent(name="Sign Up", at=NOW, user_id="ada"),
        Exchange(user_id="ada", prompt="Hi", answer="Hello", at=NOW),
    ]

    assert exporter.write(items) == {}

    assert Store(path).run("r") == items[0]
    assert Store(path).events() == items[1:]


def test_an_open_run_ends(exporter, path):
    """A run is there while it is open, and once when it has ended, whatever came first or twice."""
    opened, ended = a_run(duration=None), a_run(tags=("a",))

    exporter.write([opened])
    assert Store(path).run("r") == opened

    for batch in ([ended], [opened], [ended, opened], [opened, ended]):
        exporter.write(batch)
        assert Store(path).run("r") == ended
    assert rows(path, "SELECT count(*) FROM runs") == [(1,)]
    assert rows(path, "SELECT runs, open FROM traces") == [(1, 0)]
    assert len(Store(path).newest(9, Filters(search="gpt", tag="a"))) == 1


def test_the_tables_are_kept_up_to_date(exporter, path):
    """A trace adds its runs up, in whichever batches they come; unknown counts stay unknown."""
    child = a_run("c", trace_id="r", parent_id="r", usage=Usage(prompt=5), error=Error("m", "T"))
    exporter.write([child])
    exporter.write([a_run("r", kind="chain", name="top", duration=3.0, user_id="ada")])

    query = "SELECT runs, errors, prompt_tokens, completion_tokens, user_id FROM traces"
    assert rows(path, query) == [(2, 1, 5, None, "ada")]
    assert Store(path).summaries()[0].name == "top"


def test_a_whole_tree_is_refused(exporter):
    """A tree, which nobody sends here, is counted and not forgotten."""
    assert exporter.write([Trace([a_run()])]) == {"unwritable": 1}


def test_an_item_that_cannot_be_written(exporter, path, monkeypatch):
    """An item that breaks its contract is counted and lost alone, not with its batch."""
    monkeypatch.setattr(guard, "strict", False)
    broken = a_run("broken", started_at="yesterday")

    assert exporter.write([a_run("a"), broken, a_run("b", user_id=3)]) == {"unwritable": 1}

    assert {run.id for run in Store(path).runs()} == {"a", "b"}


@pytest.mark.parametrize(
    "text", ["NUL \x00 in it", "lone \ud800 surrogate", "日本語 🎉 ü", "'; DROP TABLE runs; --", ""]
)
def test_odd_texts(exporter, path, text):
    """Any text is kept wherever it stands, as far as UTF-8 can hold it."""
    kept = text.encode("utf-8", "replace").decode()
    data = Snapshot(b'"' + kept.replace("\x00", "\\u0000").encode() + b'"')
    run = a_run(
        "r",
        name=text,
        user_id=text,
        thread_id=text,
        tags=(text,),
        input=data,
        error=Error(text, text),
    )

    assert exporter.write([run]) == {}

    read = Store(path).run("r")
    assert (read.name, read.user_id, read.tags, read.input) == (kept, kept, (kept,), data)


@pytest.mark.parametrize("count", [2**63, -1])
def test_odd_numbers(exporter, path, count):
    """A count that no column holds does not take the batch with it."""
    exporter.write([a_run(usage=Usage(prompt=count, completion=1)), a_run("s")])

    assert Store(path).run("r").usage == Usage(prompt=count, completion=1)
    assert Store(path).totals().runs == 2


def test_a_large_prompt(exporter, path):
    """A prompt of a megabyte is kept whole, and found by its first words."""
    data = Snapshot(b'"beginning ' + b"x" * 1_000_000 + b'"')
    exporter.write([a_run(input=data)])

    assert Store(path).run("r").input == data
    assert len(Store(path).newest(9, Filters(search="beginning"))) == 1


def test_a_snapshot_that_is_no_json(exporter, path):
    """A snapshot that breaks its contract costs the search for it, not the run."""
    exporter.write([a_run(input=Snapshot(b"{broken"))])

    assert Store(path).run("r").input == b"{broken"


def test_two_processes_write_at_once(path):
    """Two processes that begin the same new store at once both get everything into it."""
    writers = [process(WRITER, path, name, 300, 0.0) for name in ("a", "b")]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert (writer.returncode, errors) == (0, "")

    assert Store(path).totals().runs == 600


def test_killed_in_the_middle(path):
    """What a killed process had written is there, and the store takes more."""
    writer = process(WRITER, path, "a", 1_000_000, 0.0)
    written = [int(writer.stdout.readline()) for _ in range(20)][-1]
    writer.send_signal(signal.SIGKILL)
    # `communicate` would pass over the lines that came along with the last one and wait in a buffer.
    written = max([written, *map(int, writer.stdout)])
    writer.communicate()
    exporter = SqliteExporter(path)
    exporter.write([a_run()])
    exporter.close()

    assert Store(path).totals().runs in {written + 1, written + 11}
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child(exporter, path):
    """A child does not use its parent's connection, and both go on writing."""
    exporter.write([a_run("before")])
    child = process(FORKER, path)
    _, errors = child.communicate(timeout=60)
    exporter.write([a_run("after")])

    assert (child.returncode, errors) == (0, "")
    assert {run.id for run in Store(path).runs()} == {"before", "parent", "child", "again", "after"}
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


FORKER = """
    import os, sys
    from datetime import datetime, timezone
    from instrument.exporters.sqlite import SqliteExporter
    from instrument.run import Run
    def write(name):
        now = datetime.now(timezone.utc)
        exporter.write([Run(id=name, trace_id=name, parent_id=None, kind="llm", name="m",
                            started_at=now, duration=1.0)])
    exporter = SqliteExporter(sys.argv[1])
    write("parent")
    child = os.fork()
    if not child:
        write("child")
        exporter.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    write("again")
    exporter.close()
    sys.exit(status)
"""


def test_a_connection_of_another_process(exporter, path):
    """A connection that another process opened is neither used nor closed."""
    exporter.write([a_run("before")])
    inherited = exporter._db
    exporter._opened = (os.getpid() + 1, *exporter._opened[1:])

    exporter.write([a_run("after")])

    assert exporter._db is not inherited
    assert inherited.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    inherited.close()


@pytest.mark.parametrize("first", ["SELECT 1", "ROLLBACK"])
def test_half_a_batch_is_none(path, first):
    """What fails in the middle leaves nothing of it behind, also when SQLite went back by itself."""
    db = _sqlite_schema.connect(path)

    def fail_halfway():
        with _sqlite_schema.transaction(db):
            db.execute("INSERT INTO tags VALUES ('a', 1)")
            db.execute(first)
            db.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        fail_halfway()

    assert db.execute("SELECT count(*) FROM tags").fetchone() == (0,)
    db.close()


def test_its_own_folder_is_hidden_from_git(tmp_path):
    """A folder `.instrument` is hidden from git whoever made it, unless somebody decided already."""
    folder = tmp_path / ".instrument"
    folder.mkdir()
    for content in ("*\n", "# mine\n"):
        exporter = SqliteExporter(folder / "runs.db")
        exporter.write([a_run()])
        exporter.close()
        assert (folder / ".gitignore").read_text() == content
        (folder / ".gitignore").write_text("# mine\n")


def damage(path: Path) -> None:
    """Write over the middle of a file."""
    data = bytearray(path.read_bytes())
    data[100:] = os.urandom(len(data) - 100)
    path.write_bytes(data)


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
def test_a_damaged_file(path, content):
    """A damaged file is moved aside and said to be, and the runs go into a new one."""
    first = SqliteExporter(path)
    first.write([a_run("old")])
    first.close()
    damage(path) if content is None else path.write_bytes(content)
    damaged = path.read_bytes()
    notices.clear()
    exporter = SqliteExporter(path)

    assert exporter.write([a_run("new")]) == {}

    exporter.close()
    assert notices.counts["store: damaged"] == 1
    assert [each.read_bytes() for each in path.parent.glob("runs.db.damaged-*")] == [damaged]
    assert [run.id for run in Store(path).runs()] == ["new"]


def test_damaged_while_it_is_open(exporter, path):
    """Damage that is met in the middle of writing costs no run of that batch."""
    exporter.write([a_run(f"r{number}") for number in range(500)])
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    damage(path)

    exporter.write([a_run(f"new{number}") for number in range(50)])

    assert Store(path).totals().runs == 50


def test_deleted_while_it_is_open(exporter, path):
    """A store that somebody deletes is begun anew, instead of writing into nowhere."""
    exporter.write([a_run("old")])
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()

    exporter.write([a_run("new")])

    assert [run.id for run in Store(path).runs()] == ["new"]


def test_set_aside_by_another_process(exporter, path):
    """A new store that another process has begun meanwhile is not set aside as well."""
    exporter.write([a_run("old")])
    exporter._opened = (os.getpid(), 0, 0)

    exporter._set_aside()

    assert not list(path.parent.glob("*damaged*"))
    assert Store(path).run("old")


def test_a_locked_file(exporter, path):
    """A store that another process holds is raised about, after a bounded wait, for a later try."""
    exporter.write([a_run("first")])
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        exporter.write([a_run("second")])

    assert time.monotonic() - begun < 3 * _sqlite_schema.BUSY_SECONDS
    holder.execute("ROLLBACK")
    holder.close()
    exporter.write([a_run("second")])
    assert Store(path).totals().runs == 2


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_folder(tmp_path):
    """A folder that may not be written to is raised about, for a later try."""
    tmp_path.chmod(0o500)
    exporter = SqliteExporter(tmp_path / "folder" / "runs.db")

    with pytest.raises(PermissionError):
        exporter.write([a_run()])

    tmp_path.chmod(0o700)
    assert exporter.write([a_run()]) == {}
    exporter.close()


def test_a_folder_that_cannot_be(tmp_path):
    """A folder that cannot be made is raised about, and tried again the next time."""
    (tmp_path / "folder").write_text("a file stands here")
    exporter = SqliteExporter(tmp_path / "folder" / "runs.db")

    with pytest.raises(OSError, match="folder"):
        exporter.write([a_run()])

    (tmp_path / "folder").unlink()
    assert exporter.write([a_run()]) == {}
    exporter.close()


FULL = """
    import resource, sqlite3, sys
    from datetime import datetime, timezone
    from instrument.exporters.sqlite import SqliteExporter
    from instrument.run import Run, Snapshot
    def write(name, size):
        now = datetime.now(timezone.utc)
        exporter.write([Run(id=name, trace_id=name, parent_id=None, kind="llm", name="m",
                            started_at=now, duration=1.0, input=Snapshot(b'"%s"' % (b"x" * size)))])
    exporter = SqliteExporter(sys.argv[1])
    write("before", 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        write("too large", 1_000_000)
    except sqlite3.OperationalError:
        print("raised")
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    write("after", 10)
    exporter.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_a_full_disk(path):
    """A disk without room is raised about, for a later try, and nothing half is written."""
    output, errors = process(FULL, path).communicate(timeout=60)

    assert (output, errors) == ("raised\n", "")
    assert {run.id for run in Store(path).runs()} == {"before", "after"}


@pytest.mark.parametrize("version", [1, 2])
def test_from_an_older_version(path, version):
    """A store of an older version is brought up to date, with all that is in it, by a write."""
    older(path, version)
    exporter = SqliteExporter(path)
    exporter.write([a_run("new")])
    exporter.close()

    assert rows(path, "PRAGMA user_version") == [(len(_sqlite_schema.MIGRATIONS),)]
    found = Store(path).newest(9, Filters(search="capital"))
    assert [tree.id for tree in found] == ["old"]


@pytest.mark.parametrize("version", [1, 2])
def test_reading_an_older_version(path, version):
    """A store of an older version is brought up to date by a reader as well, what was paid too."""
    older(path, version)

    assert [tree.id for tree in Store(path).newest(9, Filters(search="capital"))] == ["old"]
    assert rows(
        path, "SELECT r.audio_in, t.provider FROM runs r JOIN tariffs t ON t.n = r.tariff"
    ) == [(3, "openai")]


def older(path: Path, version: int) -> None:
    """Make a store as an older version made it: without an index for search, without tariffs."""
    path.parent.mkdir()
    db = sqlite3.connect(path, isolation_level=None)
    for migrate in _sqlite_schema.MIGRATIONS[:version]:
        migrate(db)
    db.execute(f"PRAGMA application_id = {_sqlite_schema.APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {version}")
    run = a_run(
        "old",
        usage=Usage(prompt=5, completion=1, audio_in=3),
        answer=Answer(provider="openai", model="gpt-4o"),
    )
    columns = "n, id, trace_id, kind, name, model, status, started, duration"
    values = (1, "old", "old", "llm", "gpt-4o", "gpt-4o", "ok", NOW.timestamp(), 1.0)
    db.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    db.execute("INSERT INTO bodies VALUES (1, ?)", (encode(run),))
    db.execute("INSERT INTO texts VALUES (1, 'gpt-4o', 'the capital of France', '')")
    sqlite._derive(db, ["old"])
    db.close()


def test_a_newer_version(exporter, path):
    """A store of a newer version is left as it is; items are counted, and the remedy is said."""
    exporter.write([a_run()])
    exporter.close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    notices.clear()

    assert exporter.write([a_run("s"), a_run("t")]) == {"newer_store": 2}

    assert notices.counts["store: newer_store"] == 1
    assert rows(path, "SELECT count(*) FROM runs") == [(1,)]
    with pytest.raises(StoreError, match="upgrade"):
        Store(path)


@pytest.mark.parametrize("setup", ["CREATE TABLE notes (text)", "PRAGMA user_version = 1"])
def test_another_programs_database(exporter, path, setup):
    """A database of another program is not touched, even if its version looks like ours."""
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute(setup)
    db.close()
    before = path.read_bytes()

    assert exporter.write([a_run()]) == {"foreign_store": 1}

    assert path.read_bytes() == before
    with pytest.raises(StoreError, match="another program"):
        Store(path)


def test_old_traces_go(path):
    """A trace whose last run ended longer ago than the bound goes, with all that belongs to it."""
    exporter = SqliteExporter(path, max_age=3600)
    old = NOW - timedelta(hours=2)
    exporter.write(
        [
            a_run("old", started_at=old, tags=("a",), input=Snapshot(b'"word"')),
            Feedback(run_id="old", at=NOW, thumb="up"),
            UserEvent(name="Sign Up", at=old),
            a_run("begun long ago", started_at=old, duration=7000.0),
        ]
    )
    exporter.write([a_run("new")])
    exporter.close()

    assert {run.id for run in Store(path).runs()} == {"begun long ago", "new"}
    for table in ("texts", "bodies"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [(2,)]
    for table in ("tags", "events"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [(0,)]
    assert rows(path, "SELECT rowid FROM search WHERE search MATCH 'word'") == []


def test_pruning_is_never_a_long_pause(path):
    """One write deletes so many traces at most; the next ones delete the others."""
    exporter = SqliteExporter(path, max_age=3600)
    most = sqlite.PRUNED_TRACES * sqlite.PRUNED_ROUNDS
    old = NOW - timedelta(hours=2)
    exporter.write([a_run(f"r{number}", started_at=old) for number in range(most + 10)])
    exporter.write([])
    assert Store(path).count() == 10

    exporter.write([])
    exporter.close()
    assert Store(path).count() == 0


def test_a_trace_goes_whole(path):
    """Pruning never leaves half a trace behind."""
    exporter = SqliteExporter(path, max_bytes=2_000_000)
    for number in range(300):
        trace = f"t{number}"
        body = Snapshot(b'"%s"' % os.urandom(1000).hex().encode())
        runs = [a_run(f"{trace}-{i}", trace_id=trace, parent_id=trace, input=body) for i in (1, 2)]
        exporter.write([*runs, replace(a_run(trace), started_at=NOW + timedelta(seconds=number))])
    exporter.close()

    counts = rows(path, "SELECT trace_id, count(*) FROM runs GROUP BY trace_id")
    assert {count for _, count in counts} == {3}
    assert 5 < len(counts) < 300
    assert ("t299", 3) in counts
    assert ("t0", 3) not in counts


def test_a_few_large_traces(path):
    """Where a handful of traces fills the store, the oldest go one by one, and not all at once."""
    exporter = SqliteExporter(path, max_bytes=4_000_000)
    for number in range(30):
        body = Snapshot(b'"%s"' % os.urandom(100_000).hex().encode())
        started = NOW + timedelta(seconds=number)
        exporter.write([replace(a_run(f"t{number}", input=body), started_at=started)])
    exporter.close()

    kept = [run_id for (run_id,) in rows(path, "SELECT id FROM runs ORDER BY started")]
    assert kept == [f"t{number}" for number in range(30 - len(kept), 30)]
    assert len(kept) > 14


def test_many_rows_in_few_statements(path):
    """A batch of hundreds of runs takes fewer statements than runs, and keeps what one by one would."""
    statements: list[str] = []
    exporter = SqliteExporter(path)
    exporter.write([a_run("first")])
    exporter._db.set_trace_callback(statements.append)
    ended = [a_run(f"r{number}", tags=("a", "b")) for number in range(413)]
    opened = [replace(run, duration=None) for run in ended]
    exporter.write([*opened[:100], *ended[50:], ended[60], opened[70]])
    exporter._db.set_trace_callback(None)
    exporter.write(ended[:50])
    exporter.close()

    assert len(statements) < 300
    assert rows(path, "SELECT count(*), count(DISTINCT id), sum(status = 'open') FROM runs") == [
        (414, 414, 0)
    ]
    assert rows(path, "SELECT count(*) FROM tags") == [(826,)]
    assert rows(path, "SELECT count(*) FROM traces") == [(414,)]


def test_the_file_stays_within_its_bound(path):
    """The file grows to its bound and a batch more, however much is written, and search still works."""
    exporter = SqliteExporter(path, max_bytes=2_000_000)
    largest = 0
    for number in range(60):
        words = " ".join(f"word{number * 31 + i}" for i in range(200)).encode()
        runs = [a_run(f"{number}-{i}", input=Snapshot(b'"%s"' % words)) for i in range(60)]
        exporter.write(runs)
        largest = max(largest, path.stat().st_size)
    exporter.close()

    assert path.stat().st_size < 2_600_000
    assert largest < 2_800_000
    assert Store(path).newest(9, Filters(search="word1829"))
    assert rows(path, "SELECT rowid FROM search WHERE search MATCH 'word3'") == []
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "INSERT INTO search (search) VALUES ('integrity-check')") == []


def test_only_events_are_pruned_too(path):
    """A store that holds nothing but user events keeps within its bounds as well."""
    exporter = SqliteExporter(path, max_bytes=300_000)
    for number in range(100):
        at = NOW + timedelta(seconds=number)
        properties = {"text": "x" * 500}
        exporter.write([UserEvent(name=f"e{number}", at=at, properties=properties)] * 20)
    exporter.close()

    events = Store(path).events()
    assert 20 < len(events) < 800
    assert events[-1].name == "e99"


def test_without_full_text_search(tmp_path):
    """Where SQLite has no full-text search, a store is made without, and texts are looked through."""
    path = tmp_path / "runs.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.set_authorizer(
        lambda action, *_: action == sqlite3.SQLITE_CREATE_VTABLE  # SQLITE_DENY is 1
    )
    for migrate in _sqlite_schema.MIGRATIONS:
        migrate(db)
    db.execute(f"PRAGMA application_id = {_sqlite_schema.APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(_sqlite_schema.MIGRATIONS)}")
    db.close()
    exporter = SqliteExporter(path)
    exporter.write([a_run(duration=None, input=Snapshot(b'"the city"')), a_run("s")])
    exporter.write([a_run(input=Snapshot(b'"100% of the capital"'))])
    exporter.close()

    assert [tree.id for tree in Store(path).newest(9, Filters(search="0% OF the"))] == ["r"]
    assert Store(path).newest(9, Filters(search="1_0%")) == []
