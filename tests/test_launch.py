"""A program that never heard of us is traced, and otherwise runs as it would without us."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from instrument import launch
from instrument.testing import FakeOpenAI
from tests.programs import ASK, ROOT, environment, launcher, python, recorded, traced, write

pytest.importorskip("openai", reason="the programs call it")

SELF = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "name": __name__, "file": __file__, "cwd": os.getcwd(),
    "orig_argv": sys.orig_argv, "stdin": sys.stdin.read(), "package": __package__,
}))
sys.exit(7)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def server():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def env(server):
    return environment(server.url)


def test_script_is_traced(folder, env, server):
    """A script's call becomes a run in the store, and the request is what it was."""
    write(folder, "app.py", ASK)

    done = traced(folder, env, "app.py")

    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 1
    assert len(recorded(folder)) == 1


@pytest.mark.parametrize(
    "words", [["app.py", "-a", "--b", "c d"], ["-m", "pack.tool", "-m", "x"], ["./pack"]]
)
def test_program_finds_everything_as_it_was(folder, env, words):
    """Arguments, path, `__main__`, folder, stdin and exit code are those of a plain start."""
    write(folder, "app.py", SELF)
    write(folder, "pack/__init__.py", "")
    write(folder, "pack/tool.py", SELF)
    write(folder, "pack/__main__.py", SELF)

    plain = python(folder, env, *words, stdin="in\nput")
    ours = traced(folder, env, *words, stdin="in\nput")

    assert plain.returncode == ours.returncode == 7
    assert json.loads(ours.stdout) == json.loads(plain.stdout)


def test_console_script(folder, env, server):
    """A command is run as it is, and traced when it is a Python program."""
    script = write(folder, "bin/tool", f"#!{sys.executable}\n{ASK}import sys; print(sys.argv[1:])")
    script.chmod(0o755)
    env["PATH"] = f"{script.parent}{os.pathsep}{env['PATH']}"

    done = traced(folder, env, "tool", "-x", "1")

    assert done.stdout == "['-x', '1']\n"
    assert len(recorded(folder)) == 1


def test_unknown_program(folder, env):
    """What is not there is said in a sentence, with the shell's exit code for it."""
    done = traced(folder, env, "no-such-thing")

    assert done.returncode == 127
    assert "no script or command 'no-such-thing'" in done.stderr


def test_child_processes_are_traced(folder, env, server):
    """Python processes that the program starts are traced as well."""
    write(folder, "child.py", ASK)
    write(folder, "app.py", "import subprocess, sys; subprocess.run([sys.executable, 'child.py'])")

    done = traced(folder, env, "app.py")

    assert len(recorded(folder)) == 1
    assert done.stderr.count("runs go to") == 1


def test_multiprocessing_pool(folder, env, server):
    """Workers of a pool are traced, however they are started."""
    write(folder, "asks.py", "def ask(_):" + textwrap.indent(ASK, "    "))
    app = """
        import multiprocessing, sys
        from asks import ask
        if __name__ == "__main__":
            for way in ("spawn", "fork"):
                context = multiprocessing.get_context(way)
                with context.Pool(1) as pool:
                    pool.map(ask, [1])
                    pool.close()
                    pool.join()
    """
    write(folder, "app.py", app)

    done = traced(folder, env, "app.py")

    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 2
    assert len(recorded(folder)) == 2


def test_children_that_import_no_sdk_are_left_alone(folder, env):
    """A child is traced from its first import of an SDK on: one without any loads nothing of ours."""
    code = "import sys, json, uuid; print('instrument' in sys.modules); import openai; print('instrument' in sys.modules)"
    write(
        folder,
        "app.py",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])",
    )

    assert traced(folder, env, "app.py").stdout == "False\nTrue\n"


def test_child_with_a_module_of_our_name(folder, env):
    """A child with a module named `instrument` gets its own, though it is not the one asked for."""
    write(folder, "other/instrument.py", "mine = True")
    write(folder, "other/child.py", "import instrument, openai; print(instrument.mine)")
    write(
        folder,
        "app.py",
        "import subprocess, sys; subprocess.run([sys.executable, 'other/child.py'])",
    )

    done = traced(folder, env, "app.py")

    assert done.stdout == "True\n", done.stderr


def test_child_that_imports_an_sdk_before_a_module_of_our_name(folder, env):
    """Nor is it put aside by our own when that is begun with first."""
    write(folder, "other/instrument.py", "mine = True")
    write(folder, "other/child.py", "import openai, instrument; print(instrument.mine)")
    write(
        folder,
        "app.py",
        "import subprocess, sys; subprocess.run([sys.executable, 'other/child.py'])",
    )

    assert traced(folder, env, "app.py").stdout == "True\n"


@pytest.mark.parametrize("option", ["-I", "-S", "-E"])
def test_isolated_children_are_left_alone(folder, env, option):
    """A child that asks not to be disturbed runs, untraced and in silence."""
    code = "import sys; print('instrument' in sys.modules)"
    app = f"import subprocess, sys; subprocess.run([sys.executable, {option!r}, '-c', {code!r}])"
    write(folder, "app.py", app)

    done = traced(folder, env, "app.py")

    assert done.stdout == "False\n"


def test_existing_sitecustomize(folder, env):
    """A `sitecustomize` that is there already runs as before, and is the one that is imported."""
    write(folder, "site/sitecustomize.py", "import sys; sys.mark = __file__")
    write(folder, "app.py", "import sitecustomize, sys; print(sys.mark == sitecustomize.__file__)")
    env["PYTHONPATH"] = str(folder / "site")

    assert traced(folder, env, "app.py").stdout == "True\n"


def test_broken_sitecustomize(folder, env, server):
    """One that fails says so as it would without us, and the program is traced nevertheless."""
    write(folder, "site/sitecustomize.py", "import no_such_module")
    write(folder, "app.py", ASK)
    env["PYTHONPATH"] = str(folder / "site")

    plain, ours = python(folder, env, "app.py"), traced(folder, env, "app.py")

    assert "no_such_module" in plain.stderr
    assert "no_such_module" in ours.stderr
    assert len(recorded(folder)) == 1


def test_disabled(folder, env, server):
    """INSTRUMENT_DISABLED=1 turns everything off: not even the path differs."""
    write(folder, "app.py", ASK + "import sys; print('instrument' in sys.modules)")

    done = traced(folder, {**env, "INSTRUMENT_DISABLED": "1"}, "app.py")

    assert done.stdout == "False\n"
    assert not (folder / ".instrument").exists()


def test_program_that_calls_instrument_itself(folder, env, server):
    """A program that is instrumented already is recorded once."""
    code = f"import sys; sys.path.append({str(ROOT)!r})\nfrom instrument import instrument\n"
    write(folder, "app.py", code + "instrument()\n" + ASK)

    done = traced(folder, env, "app.py")

    assert done.returncode == 0, done.stderr
    assert len(recorded(folder)) == 1


def test_wrong_settings(folder, env, server):
    """A setting that cannot be used is said in one line, and the program runs."""
    write(folder, "app.py", ASK)

    done = traced(folder, {**env, "INSTRUMENT_EXPORTERS": "nowhere"}, "app.py")

    assert done.returncode == 0
    assert "nowhere" in done.stderr
    assert len(server.requests) == 1


def test_store_that_cannot_be_written(folder, env, server):
    """What keeps the store from being written is said with its name, and the program runs."""
    store = write(folder, "file", "") / "runs.db"
    write(folder, "app.py", ASK)

    done = traced(folder, {**env, "INSTRUMENT_STORE": str(store)}, "app.py")

    assert (done.returncode, len(server.requests)) == (0, 1)
    assert f"sqlite: {store} cannot be written: " in done.stderr
    assert "failure of our own" not in done.stderr


def test_module_of_our_name(folder, env):
    """A program with a module named `instrument` gets its own."""
    write(folder, "instrument.py", "mine = True")
    write(folder, "app.py", "import instrument; print(instrument.mine)")

    done = traced(folder, env, "app.py")

    assert done.stdout == "True\n"
    assert "has our name" in done.stderr


def test_another_package_of_our_name_on_the_path(folder, env):
    """A package named `instrument` further on the path is left alone."""
    write(folder, "site/instrument/__init__.py", "mine = True")
    write(folder, "app.py", "import instrument; print(instrument.mine)")
    env["PYTHONPATH"] = str(folder / "site")

    assert traced(folder, env, "app.py").stdout == "True\n"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(folder, env, number):
    """A signal to the process that was started reaches the program itself."""
    app = """
        import signal, sys, time
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: sys.exit(number + 40))
        print("ready", flush=True)
        time.sleep(30)
    """
    write(folder, "app.py", app)

    with subprocess.Popen(
        launcher("app.py"), cwd=folder, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)

        assert process.wait(10) == number + 40


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_death_by_signal(folder, env):
    """A program that is killed by a signal is seen to be."""
    write(folder, "app.py", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    assert traced(folder, env, "app.py").returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ignored_signals_are_not_inherited(folder, env):
    """A command gets SIGPIPE as the shell would give it, not ignored as Python keeps it."""
    done = traced(folder, env, "grep", "SigIgn", "/proc/self/status")
    if done.returncode:
        pytest.skip("no /proc on this system")

    assert int(done.stdout.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


def test_interpreter_options_are_kept(folder, env):
    """Options of the interpreter reach the program."""
    write(folder, "app.py", "import sys; print(sys.flags.dev_mode, sys.warnoptions)")
    command = ["-X", "dev", "-W", "error", *launcher("app.py")[1:]]
    env["PYTHONPATH"] = str(ROOT)

    done = python(folder, env, "-X", "dev", "-W", "error", "-m", "instrument", "run", "app.py")

    assert "True" in done.stdout, (command, done.stderr)


def test_other_pythons_are_left_alone(folder, env):
    """One that is too old or lacks our packages just runs; only what was asked for says so."""
    bare = folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    interpreter = bare / ("Scripts" if os.name == "nt" else "bin") / "python"

    code = "import os, subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1)'])"
    done = traced(folder, env, interpreter, "-c", code)

    assert done.stdout == "1\n"
    assert done.stderr.count("not traced by") == 1
    assert f"not traced by {interpreter}: No module named" in done.stderr


def test_path_is_put_once():
    """The folder stands first, once; an empty entry (the working folder) stays, and none comes."""
    ours = str(launch.BOOTSTRAP)

    assert launch.path_with_bootstrap({}) == launch.path_with_bootstrap({"PYTHONPATH": ""}) == ours
    assert launch.path_with_bootstrap({"PYTHONPATH": os.pathsep + "a"}) == os.pathsep.join(
        [ours, "", "a"]
    )
    nested = launch.path_with_bootstrap({"PYTHONPATH": os.pathsep.join([ours, "a", ours])})
    assert nested == os.pathsep.join([ours, "a"])
