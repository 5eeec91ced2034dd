"""Random bytes for ids: never the same twice, and seldom a draw."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from instrument.entropy import DRAWN_IDS, ID_BYTES, Entropy


def test_never_twice() -> None:
    """Threads that take from one source at once get different bytes, all of the right size."""
    entropy = Entropy()
    barrier = threading.Barrier(8)

    def take(_: int) -> list[bytes]:
        barrier.wait(10)
        return [entropy() for _ in range(3 * DRAWN_IDS)]

    with ThreadPoolExecutor(8) as pool:
        taken = [piece for pieces in pool.map(take, range(8)) for piece in pieces]

    assert len(set(taken)) == len(taken) == 8 * 3 * DRAWN_IDS
    assert {len(piece) for piece in taken} == {ID_BYTES}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_child() -> None:
    """A forked child takes none of the bytes that its parent goes on to take."""
    entropy = Entropy()
    entropy()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(entropy() for _ in range(DRAWN_IDS)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)

    theirs = {told[at : at + ID_BYTES] for at in range(0, len(told), ID_BYTES)}
    assert len(theirs) == DRAWN_IDS
    assert theirs.isdisjoint(entropy() for _ in range(DRAWN_IDS))
