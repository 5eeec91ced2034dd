"""`instrument run X` is what `X` is: a table of ways to start a program, with and without us."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from instrument import launch
from instrument.testing import FakeOpenAI
from tests.programs import ASK, environment, launcher, python, recorded, traced, write

pytest.importorskip("openai", reason="the programs call it")

STATE = """
import json, os, signal, sys
def state():
    main = sys.modules["__main__"]
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return json.dumps({
        "argv": sys.argv, "path": sys.path, "orig_argv": sys.orig_argv, "cwd": os.getcwd(),
        "name": main.__name__, "file": getattr(main, "__file__", None),
        "package": main.__package__, "spec": getattr(main.__spec__, "name", None), "flags": str(sys.flags),
        "warnings": sys.warnoptions, "xoptions": sorted(sys._xoptions), "prefix": sys.prefix,
        "executable": sys.executable, "signals": list(map(repr, signals)), "stdin": sys.stdin.read(),
        "unbuffered": sys.stdout.write_through, "optimized": not __debug__,
    })
"""
SHOW = "import sys, state; print(state.state()); sys.exit(7)"

WAYS = [
    ["app.py", "-a", "--b", "c d", "-"],
    ["./app.py", "-m", "x"],
    ["deep/app.py"],
    ["plain", "x"],
    ["pack"],
    ["./pack"],
    ["-m", "pack.tool", "-m", "x"],
    ["-m", "pack"],
    ["-mpack.tool", "x"],
    ["-c", SHOW, "-c", "x"],
    ["-u", "app.py", "-u"],
    ["-O", "app.py"],
    ["-OO", "-m", "pack.tool"],
    ["-uOm", "pack.tool", "x"],
    ["-X", "dev", "app.py"],
    ["-Xutf8", "-X", "dev", "app.py"],
    ["-W", "error", "app.py", "-W"],
    ["-Werror::UserWarning", "-bb", "app.py"],
    ["-BqsW", "ignore", "app.py"],
    ["--check-hash-based-pycs", "never", "app.py"],
    ["-uc", SHOW, "x"],
    ["--", "app.py", "-x"],
    ["-u", "--", "app.py", "--"],
]
CODES = [
    ["-c", ""],
    ["-c", "raise SystemExit(3)"],
    ["-c", "raise SystemExit('no')"],
    ["-c", "1 / 0"],
    ["-c", "import os; os._exit(5)"],
    ["-c", "raise KeyboardInterrupt"],
    ["-c", "import os; os.abort()"],
    ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"],
    ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGHUP)"],
    ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"],
    ["nothing.py"],
    ["-m", "nothing"],
    ["-Z", "app.py"],
    ["-c"],
]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and shebangs")


@pytest.fixture
def folder(tmp_path):
    for name in ("app.py", "plain", "pack/__main__.py", "pack/tool.py"):
        write(tmp_path, name, SHOW)
    write(tmp_path, "pack/__init__.py", "")
    write(tmp_path, "deep/app.py", SHOW)
    return tmp_path


@pytest.fixture
def env(folder):
    write(folder, "modules/state.py", STATE)
    return {**environment("http://127.0.0.1:9"), "PYTHONPATH": str(folder / "modules")}


def both(folder, env, *words, stdin=""):
    """Run a program without us and with us, at the same time."""
    with ThreadPoolExecutor(2) as pool:
        started = [pool.submit(way, folder, env, *words, stdin=stdin) for way in (python, traced)]
        return [each.result() for each in started]


@pytest.mark.parametrize("words", WAYS, ids=" ".join)
def test_program_finds_everything_as_it_was(folder, env, words):
    """Arguments, options, path, `__main__`, signals, stdin and exit code are a plain start's."""
    plain, ours = both(folder, env, *words, stdin="in\nput")

    assert plain.returncode == 7, plain.stderr
    assert ours.stdout == plain.stdout
    assert ours.returncode == 7
    assert "no key is set" in ours.stderr


@posix
@pytest.mark.parametrize("words", CODES, ids=" ".join)
def test_program_ends_as_it_would(folder, env, words):
    """Exit codes, deaths by signals and what Python says are a plain start's."""
    quiet = {**env, "INSTRUMENT_QUIET": "1"}

    plain, ours = both(folder, quiet, *words)

    assert ours.returncode == plain.returncode
    assert (ours.stdout, ours.stderr) == (plain.stdout, plain.stderr)


@pytest.mark.parametrize("words", [["-"], ["-", "x"], ["-u", "-"]], ids=" ".join)
def test_code_from_stdin(folder, env, words):
    """Code that comes from stdin runs, with `-` as Python says it, and is traced."""
    code = "import sys\nprint(sys.argv, 'instrument' in sys.modules)"

    assert traced(folder, env, *words, stdin=code).stdout == f"{words[words.index('-') :]} True\n"


@posix
@pytest.mark.parametrize("name", ["python", "python3"])
def test_python_by_its_name(folder, env, name):
    """`instrument run python app.py` is this Python, traced."""
    with FakeOpenAI() as server:
        write(folder, "asks.py", ASK)
        done = traced(folder, {**env, "FAKE": server.url}, name, "asks.py")

    assert done.returncode == 0, done.stderr
    assert len(recorded(folder)) == 1


@posix
def test_two_dashes_before_a_command(folder, env):
    """`instrument run -- command` is the command, as people write it elsewhere."""
    assert traced(folder, env, "--", "echo", "-u", "--").stdout == "-u --\n"


@posix
def test_options_before_a_console_script(folder, env):
    """Python's options may stand before an installed command, if that is a Python script."""
    script = write(folder, "bin/tool", f"#!{sys.executable}\n{SHOW}")
    script.chmod(0o755)
    env["PATH"] = f"{script.parent}{os.pathsep}{env['PATH']}"

    done = traced(folder, env, "-u", "tool", "x")

    assert done.returncode == 7
    assert '"unbuffered": true' in done.stdout
    refused = traced(folder, env, "-u", "grep", "x")
    assert refused.returncode == 127
    assert "no Python script 'grep'" in refused.stderr


@pytest.mark.parametrize("option", ["-I", "-E", "-S", "-uES"])
def test_options_that_keep_us_out(folder, env, option):
    """With an option that isolates Python the program runs, and one line says why it is alone."""
    done = traced(folder, env, option, "-c", "import sys; print('instrument' in sys.modules)")

    assert done.stdout == "False\n"
    assert "not traced, because Python loads nothing of ours with -" in done.stderr
    assert "leave it out" in done.stderr


def test_empty_entry_of_the_path(folder, env):
    """An empty entry of PYTHONPATH, which is the working folder, stays where it was."""
    write(folder, "elsewhere/app.py", SHOW)
    env["PYTHONPATH"] = os.pathsep.join(["", str(folder / "modules"), ""])

    plain, ours = both(folder, env, "elsewhere/app.py")

    assert plain.returncode == 7
    assert ours.stdout == plain.stdout


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("handled", [True, False])
def test_signals(folder, env, number, handled):
    """A signal reaches the program once, and does what it does in a plain start."""
    app = f"""
        import signal, sys, time
        seen = []
        if {handled}:
            signal.signal({int(number)}, lambda number, frame: seen.append(number))
        print("ready", flush=True)
        until = time.monotonic() + 30
        while not seen and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        print(seen)
        sys.exit(40)
    """
    write(folder, "waits.py", app)
    ends = []
    for command in ([sys.executable, "waits.py"], launcher("waits.py")):
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**env, "INSTRUMENT_QUIET": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=10)
            ends.append((out, err.splitlines()[-1:], process.returncode))

    assert ends[0] == ends[1]
    assert ends[1][2] == (40 if handled else -number)


@posix
def test_no_hang_up(folder, env):
    """What ignores SIGHUP, as `nohup` has it, goes on doing so."""
    code = "import os, signal, time; os.kill(os.getpid(), signal.SIGHUP); print('here')"
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *launcher("-c", code)]

    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "here\n")


@pytest.mark.parametrize(
    ("words", "options", "program"),
    [
        ([], [], []),
        (["app.py", "-u"], [], ["app.py", "-u"]),
        (["-u", "-W", "error", "app.py"], ["-u", "-W", "error"], ["app.py"]),
        (["-Xdev", "-", "x"], ["-Xdev"], ["-", "x"]),
        (["-uOm", "mod", "x"], ["-uO"], ["-m", "mod", "x"]),
        (["-mmod", "-u"], [], ["-m", "mod", "-u"]),
        (["-Wcm", "app.py"], ["-Wcm"], ["app.py"]),
        (["-W"], ["-W"], []),
        (["--version"], ["--version"], []),
        (["--", "gunicorn", "--", "x"], [], ["gunicorn", "--", "x"]),
    ],
)
def test_options_are_parted(words, options, program):
    """Words are Python's options up to the program, as Python itself reads them."""
    assert launch.parted(words) == (options, program)
