"""The spool's files: what is written is found again, by whoever comes next, and by nobody twice."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from instrument.guard import notices
from instrument.transport import SpoolOptions
from instrument.transport.held import Place, is_safe
from instrument.transport.segment import MAGIC, VERSION, framed
from instrument.transport.spool import Spool

KIB = 1024


class Clock:
    """Two clocks, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Process:
    """A spool as one process has it, and what it was told became of items on disk alone."""

    def __init__(self, path: Path, names: Iterable[str] = ("a",), **options: Any) -> None:
        self.clock = Clock()
        self.booked: Counter[tuple[str, str]] = Counter()
        given = {name: options.pop(name) for name in ("wall", "lock") if name in options}
        self.spool = Spool(
            SpoolOptions(path=str(path), **options), names, self.book, clock=self.clock, **given
        )

    def book(self, name: str, what: str, count: int) -> None:
        self.booked[name, what] += count

    def write(self, *bodies: object, names: tuple[str, ...] = ("a",)) -> list[Place | None]:
        """Write items, a frame for each; give where each lies."""
        frames = [framed([names], str(body).encode()) for body in bodies]
        places = [self.spool.append(frame) for frame in frames]
        self.spool.commit()
        return places

    def adopt(self, name: str = "a") -> list[str]:
        """Take over what there is, and read it."""
        self.clock.now += 100.0
        self.spool.tend()
        return [body.decode() for _, body, _ in self.spool.take(name, 10_000, 10_000_000)]

    @property
    def stats(self) -> dict[str, Any]:
        return self.spool.as_dict()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "spool"
    for path in tmp_path.rglob("*"):
        if path.is_dir():
            path.chmod(0o700)


def files(folder: Path) -> list[Path]:
    """List what is in a folder."""
    return sorted(folder.iterdir()) if folder.exists() else []


def test_nothing_until_the_first_item(folder):
    """A spool that has nothing to write makes no folder."""
    process = Process(folder)
    process.spool.tend()

    assert not folder.exists()


def test_others_cannot_read_it(folder):
    """The folder and its files are for this user alone, and hold no more than name and item."""
    Process(folder).write("secret")

    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in files(folder)] == [0o600]
    assert files(folder)[0].read_bytes()[12:] == b'[[1,"a"]]\nsecret'


def test_not_inherited(folder):
    """A program that the process starts does not have the file open."""
    (place,) = Process(folder).write("x")

    assert place is not None
    assert not os.get_inheritable(place[0].fd)


def test_settled_is_removed(folder):
    """A file is removed when all destinations have settled all that is in it, not before."""
    process = Process(folder, ["a", "b"])
    places = [place for place in process.write(1, 2, names=("a", "b")) if place]

    process.spool.settle("a", places)
    process.spool.settle("b", places[:1])
    assert len(files(folder)) == 1
    process.spool.settle("b", places[1:])
    assert files(folder) == []


def test_next_process(folder):
    """What a process leaves is adopted by the next one, once, in order, for who still needs it."""
    first = Process(folder, ["a", "b"])
    places = [place for place in first.write(1, 2, 3, names=("a", "b")) if place]
    first.spool.settle("a", places[:2])
    first.spool.close()
    second, third = Process(folder, ["a", "b"]), Process(folder, ["a", "b"])

    assert (second.adopt("a"), second.adopt("b")) == (["3"], ["1", "2", "3"])
    assert second.booked == {("a", "adopted"): 1, ("b", "adopted"): 3}
    assert third.adopt("a") == []


def test_owner_alive(folder):
    """What a living process owns is left to it."""
    first = Process(folder)
    first.write(1)

    assert Process(folder).adopt() == []


def test_left_again(folder):
    """What was adopted and not delivered is left to the next process."""
    for _ in range(3):
        process = Process(folder)
        process.write("x")
        adopted = process.spool.take("a", 10, 1000)
        process.spool.close()
        assert adopted == []
    last = Process(folder)

    assert last.adopt() == ["x", "x", "x"]
    last.spool.close()
    assert Process(folder).adopt() == ["x", "x", "x"]


def test_out_of_memory_and_back(folder):
    """What a lane has no room for waits on disk, and is read again, oldest first."""
    process = Process(folder)
    places = [place for place in process.write(1, 2, 3) if place]
    process.spool.leave("a", places[:2])

    assert process.spool.waits("a") == 2
    assert [body for _, body, _ in process.spool.take("a", 1, 1000)] == [b"1"]
    taken = process.spool.take("a", 9, 1000)
    assert [body for _, body, _ in taken] == [b"2"]
    process.spool.settle("a", [*places[:1], taken[0][0], places[2]])
    assert files(folder) == []


def test_many_in_one_frame(folder):
    """Items of one frame are settled, left and read back one by one, in this process and later."""
    first = Process(folder, ["a", "b"])
    names = [("a",), ("a", "b"), ("b",), ("a",)]
    file, start = first.spool.append(framed(names, b"whole"))
    places = [(file, start + number) for number in range(len(names))]
    assert first.stats["written"] == len({place for _, place in places}) == 4
    first.spool.settle("a", [places[0]])
    first.spool.leave("a", [places[1]])
    first.spool.leave("b", [places[2]])

    assert first.spool.take("a", 9, 1000) == [(places[1], b"whole", 1)]
    assert first.spool.take("b", 9, 1000) == [(places[2], b"whole", 2)]
    first.spool.settle("b", places[1:3])
    first.spool.close()
    second = Process(folder, ["a", "b"])
    assert second.adopt("b") == []
    assert [number for _, _, number in second.spool.take("a", 9, 1000)] == [1, 3]
    assert second.booked == {("a", "adopted"): 2}


def test_strangers(folder):
    """An item for a destination that this process does not have is kept for one that has it."""
    first = Process(folder, ["a", "b"])
    first.write(1, names=("a", "b"))
    first.spool.close()
    only_a, both = Process(folder, ["a"]), Process(folder, ["a", "b"])
    only_a.clock.now += 100
    only_a.spool.tend()

    taken = only_a.spool.take("a", 10, 1000)
    only_a.spool.settle("a", [place for place, *_ in taken])
    assert both.adopt("b") == ["1"]
    assert both.adopt("a") == []


def test_killed(folder):
    """What a process had written when it was killed is all there."""
    code = (
        "import os, sys\n"
        "from instrument.transport.segment import framed\n"
        "from instrument.transport.spool import Spool, SpoolOptions\n"
        "spool = Spool(SpoolOptions(path=sys.argv[1]), ['a'], print)\n"
        "for batch in range(5):\n"
        "    for number in range(10 * batch, 10 * batch + 10):\n"
        "        spool.append(framed([('a',)], b'%d' % number))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=root, check=False, timeout=30)

    assert Process(folder).adopt() == [str(number) for number in range(50)]


def test_fork(folder):
    """A forked child leaves the parent's files alone, and does not hold them for it."""
    process = Process(folder)
    process.write("x")
    child = os.fork()
    if child == 0:
        process.spool.forget()
        os._exit(process.write("y") != [None])
    assert os.waitpid(child, 0)[1] == 0

    assert Process(folder).adopt() == []
    process.spool.close()
    assert Process(folder).adopt() == ["x"]


def test_segments(folder):
    """Files end at their size; a larger item has one to itself; the order holds."""
    process = Process(folder, segment_bytes=KIB)
    bodies = [f"{number}" * 300 for number in range(9)]
    process.write(*bodies[:5])
    process.write(*bodies[5:], "x" * 5000)

    assert all(path.stat().st_size <= KIB for path in files(folder)[:-1])
    assert len(files(folder)) == 4
    process.spool.close()
    assert Process(folder).adopt() == [*bodies, "x" * 5000]


def test_age_ends_a_file(folder):
    """After 5 s a new file is begun, unless there are many already."""
    process = Process(folder, young_files=3)
    for number in range(6):
        process.write(number)
        process.clock.now += 6

    assert len(files(folder)) == 3


def test_too_much(folder):
    """The oldest file makes room, and what was in it alone is counted."""
    process = Process(folder, max_bytes=8 * KIB, segment_bytes=KIB)
    for number in range(20):
        places = process.write(f"{number:03}" * 300)
        process.spool.leave("a", [place for place in places if place])

    assert sum(path.stat().st_size for path in files(folder)) <= 8 * KIB
    lost = process.booked["a", "spool_full"]
    assert lost == process.stats["dropped"]["spool_full"] > 0
    assert lost + process.spool.waits("a") == 20


def test_too_much_in_memory(folder):
    """What a lane still holds is not lost when its file makes room."""
    process = Process(folder, max_bytes=8 * KIB, segment_bytes=KIB)
    places = [process.write("x" * 900)[0] for _ in range(20)]

    assert process.booked == {}
    assert [is_safe(place) for place in places if place].count(False) >= 12
    process.spool.settle("a", [place for place in places if place])
    assert files(folder) == []


def test_too_large(folder):
    """An item that would fill the folder by itself lies in memory only, and harms no other."""
    process = Process(folder, max_bytes=64 * KIB)
    small, large, other = process.write("x", "y" * 20 * KIB, "z")

    assert (large, small is not None, other is not None) == (None, True, True)
    assert process.stats["unspooled"] == 1


def test_too_old(folder):
    """After 7 days a file is removed, counted, also one that is nobody's."""
    first = Process(folder, wall=lambda: time.time() - 8 * 24 * 3600)
    first.write(1, 2)
    first.spool.close()
    (path,) = files(folder)
    os.utime(path, (0, time.time() - 8 * 24 * 3600))
    second = Process(folder)

    assert second.adopt() == []
    assert (second.stats["dropped"], files(folder)) == ({"expired": 2}, [])


def test_newer_version(folder):
    """A file of a newer version is left as it is until it is too old."""
    first = Process(folder)
    first.write(1)
    first.spool.close()
    (path,) = files(folder)
    newer = MAGIC + bytes([VERSION + 1]) + b"who knows"
    path.write_bytes(newer)
    process = Process(folder)

    assert process.adopt() == process.adopt() == []
    assert (path.read_bytes(), process.stats["dropped"]) == (newer, {})
    process.spool._wall = lambda: time.time() + 8 * 24 * 3600
    assert (process.adopt(), files(folder), process.stats["dropped"]) == ([], [], {"expired": 1})


def test_damage(folder):
    """A torn end and a flipped bit cost the items they hit, are counted, and nothing raises."""
    first = Process(folder)
    first.write(*range(10, 20))
    first.spool.close()
    (path,) = files(folder)
    data = bytearray(path.read_bytes())
    data[data.index(b"\n13") + 1] ^= 4
    path.write_bytes(data[:-1])
    second = Process(folder)

    assert second.adopt() == ["10", "11", "12", "14", "15", "16", "17", "18"]
    assert second.stats["dropped"] == {"spool_corrupt": 2}


def test_damage_after_adoption(folder):
    """What goes bad between adoption and reading is counted for its destination."""
    first = Process(folder)
    first.write("good", "bad")
    first.spool.close()
    second = Process(folder)
    second.clock.now += 100
    second.spool.tend()
    (path,) = files(folder)
    path.write_bytes(path.read_bytes().replace(b"bad", b"BAD"))

    assert [body for _, body, _ in second.spool.take("a", 10, 1000)] == [b"good"]
    assert second.booked["a", "spool_corrupt"] == 1


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, b"hello", MAGIC, os.urandom(3000)])
def test_garbage(folder, content):
    """A file of ours with nothing good in it is removed, and counted if anything was in it."""
    first = Process(folder)
    first.write(1)
    first.spool.close()
    (path,) = files(folder)
    path.write_bytes(content)
    process = Process(folder)

    assert (process.adopt(), files(folder)) == ([], [])
    assert process.stats["dropped"].get("spool_corrupt", 0) == bool(content)


def test_foreign_files(folder):
    """Files of other names, links and folders are not touched."""
    folder.mkdir()
    name = "00000000000000000001-0123456789ab.spool"
    (folder / "notes.txt").write_text("mine")
    (folder / name).symlink_to(folder / "notes.txt")
    (folder / name.replace("1-", "2-")).mkdir()
    os.mkfifo(folder / name.replace("1-", "3-"))
    Process(folder).adopt()

    assert len(files(folder)) == 4
    assert (folder / "notes.txt").read_text() == "mine"


def test_nameless_file_of_the_dead(folder):
    """What a process left that died while it made a file is cleared away later."""
    folder.mkdir()
    (folder / ".00000000000000000001-0123456789ab.spool.tmp").touch()
    process = Process(folder, wall=lambda: time.time() + 3600)
    process.adopt()

    assert files(folder) == []


def test_read_only(folder):
    """A folder that cannot be written to: memory, one warning, and another try later."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder.mkdir(mode=0o500)
    process = Process(folder)

    assert (process.write(1, 2), process.write(3)) == ([None, None], [None])
    assert (process.stats["state"], process.stats["unspooled"]) == ("memory", 3)
    assert notices.counts["the spool cannot be written"] == 1
    folder.chmod(0o700)
    process.clock.now += 6
    assert process.write(4) != [None]
    assert process.stats["state"] == "disk"


def test_no_folder_possible(tmp_path):
    """A path that cannot be a folder: memory, one warning."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        process = Process(path)

        assert process.write(1) == [None]
        assert process.adopt() == []


def test_removed_folder(folder):
    """A folder that is removed: what memory holds goes on, and the next item makes it anew."""
    process = Process(folder)
    (place,) = process.write(1)
    shutil.rmtree(folder)

    assert process.write(2) != [None]
    assert len(files(folder)) == 1
    assert place is not None
    process.spool.settle("a", [place])
    process.spool.close()
    assert Process(folder).adopt() == ["2"]


def test_removed_with_items(folder):
    """What lay on disk alone in a folder that was removed is counted at the end."""
    process = Process(folder)
    process.spool.leave("a", [place for place in process.write(1) if place])
    shutil.rmtree(folder)
    process.spool.close()

    assert process.booked == {("a", "spool_removed"): 1}


def test_no_locks(folder):
    """Where there are no locks, it says so once and stays in memory."""

    def lock(fd: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    process = Process(folder, lock=lock)

    assert process.write(1) == [None]
    process.clock.now += 100
    assert process.write(2) == [None]
    assert (files(folder), notices.counts["the spool cannot be written"]) == ([], 1)
    assert process.spool.due() == float("inf")


def test_file_limit(folder):
    """A write that is cut short leaves whole frames only, and later ones go to a new file."""
    process = Process(folder)
    process.write("x" * 1500)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        places = process.write("y" * 1000)
        too_large = process.write("z" * 3000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (places != [None], too_large, process.stats["unspooled"]) == (True, [None], 1)
    process.spool.close()
    later = Process(folder)
    assert later.adopt() == ["x" * 1500, "y" * 1000]
    assert later.stats["dropped"] == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_disk_full(tmp_path):
    """On a full disk everything goes on in memory, and what is settled makes room again."""
    tmp_path.chmod(0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        process = Process(tmp_path, segment_bytes=16 * KIB)
        places = [process.write("x" * 4000)[0] for _ in range(100)]
        assert None in places
        assert process.stats["state"] == "memory"
        process.spool.settle("a", [place for place in places if place])
        assert files(tmp_path) == []
        process.clock.now += 6
        assert process.write("y") != [None]
        process.spool.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(("policy", "synced"), [("none", 0), ("batch", 3), ("interval", 2)])
def test_sync(folder, policy, synced):
    """Written items are forced to the disk never, with each batch, or every half second."""
    process = Process(folder, sync=policy)
    seen = 0
    for step in (0.0, 0.1, 0.6):
        process.clock.now += step
        (place,) = process.write("x")
        assert place is not None
        seen += not place[0].is_dirty

    assert seen == synced


def test_interval_catches_up(folder):
    """With `interval`, the last items are forced to the disk although nothing follows them."""
    process = Process(folder, sync="interval")
    process.spool.tend()
    process.write("x")
    (place,) = process.write("y")
    assert place is not None
    assert place[0].is_dirty
    process.clock.now = process.spool.due()
    process.spool.tend()

    assert not place[0].is_dirty


def test_takes_over_little_by_little(folder):
    """Of much that was left, a part is taken over at a time, so that others get some too."""
    first = Process(folder, segment_bytes=KIB)
    for number in range(20):
        first.write(f"{number:03}" * 300)
    first.spool.close()
    second = Process(folder, adopt_bytes=3 * KIB)
    third = Process(folder, adopt_bytes=1 << 30)
    second.clock.now += 100
    second.spool.tend()

    assert second.booked["a", "adopted"] < 6
    assert second.spool.due() > second.clock.now
    taken = second.spool.take("a", 100, 100_000)
    second.spool.settle("a", [place for place, *_ in taken])
    assert second.spool.due() < second.clock.now
    assert len(third.adopt()) == 20 - len(taken)


def test_written_after_it_was_seen(folder):
    """What a process wrote between the look at its file and its death is taken over too."""
    left, alive = Process(folder), Process(folder)
    left.write("x" * KIB)
    left.spool.close()
    alive.write("seen")
    finder = Process(folder, adopt_bytes=KIB)
    finder.spool.tend()
    first = finder.spool.take("a", 9, 10 * KIB)
    assert len(first) == 1  # for the other file there is no room yet
    alive.write("later")
    alive.spool.close()
    finder.spool.settle("a", [place for place, *_ in first])
    finder.spool.tend()

    assert [body for _, body, _ in finder.spool.take("a", 9, KIB)] == [b"seen", b"later"]


def test_counts_are_plain(folder):
    """The counts are JSON."""
    process = Process(folder)
    process.write(1)

    assert json.loads(json.dumps(process.stats))["written"] == 1
