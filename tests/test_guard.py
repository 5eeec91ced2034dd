"""Our failures stop in the guard: counted, said once, and without a word of content."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from instrument.guard import Notices, guard, logger, notices


@pytest.fixture
def _lenient() -> None:
    """Let the guard swallow, as it does in production."""
    guard.strict = False


@pytest.mark.usefixtures("_lenient")
def test_swallowed_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of ours ends at the guard; each is counted and the first is logged."""
    for _ in range(3):
        with guard("do a thing"):
            raise ValueError("the secret prompt")

    assert notices.counts["failed to do a thing"] == 3
    assert len(caplog.records) == 1
    assert "ValueError at " in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("_lenient")
def test_end_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure when nothing can be imported any more is counted, and nothing is raised."""
    monkeypatch.setitem(sys.modules, "logging", None)
    with guard("do a late thing"):
        raise ValueError("at the end")

    assert notices.counts["failed to do a late thing"] == 1


@pytest.mark.usefixtures("_lenient")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_not_ours(error: type[BaseException]) -> None:
    """What is no failure of ours passes."""
    with pytest.raises(error), guard("do a thing"):
        raise error


@pytest.mark.usefixtures("_lenient")
def test_without_a_block(caplog: pytest.LogCaptureFixture) -> None:
    """Where a block would cost too much, an exception that was caught is handed over."""
    try:
        raise ValueError("the secret prompt")
    except ValueError as error:
        guard("do a thing").stop(error)

    assert notices.counts["failed to do a thing"] == 1
    assert "ValueError at " in caplog.text
    assert "secret" not in caplog.text


def test_strict() -> None:
    """In tests the guard lets everything through."""
    with pytest.raises(ValueError, match="seen"), guard("do a thing"):
        raise ValueError("seen")
    with pytest.raises(ValueError, match="seen"):
        guard("do a thing").stop(ValueError("seen"))


@pytest.mark.usefixtures("_lenient")
def test_broken_log_handler(capsys: pytest.CaptureFixture[str]) -> None:
    """What logging prints of a handler that fails has nothing of the failure we told it of."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                raise OSError("the disk is full")
            except OSError:
                self.handleError(record)

    broken = Broken()
    logger().addHandler(broken)
    with guard("tell"):
        raise ValueError("the prompt")
    logger().removeHandler(broken)
    printed = capsys.readouterr().err

    assert "the disk is full" in printed
    assert "the prompt" not in printed


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    """Different subjects are each said, a repeated one is not."""
    said = Notices()
    for subject in ("a", "b", "a"):
        said.say(subject, "about %s", subject, level=logging.ERROR)

    assert [record.getMessage() for record in caplog.records] == ["about a", "about b"]
    assert said.counts == {"a": 2, "b": 1}


def test_bare_message_says_whose_it_is():
    """Where nobody has set up logging, a line on stderr begins with our name."""
    code = "from instrument.guard import notices; notices.say('s', 'lost: %d', 3)"
    bare = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code = f"import logging; logging.basicConfig(format='%(name)s %(message)s'); {code}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (bare.stderr, told.stderr) == ("instrument: lost: 3\n", "instrument lost: 3\n")
