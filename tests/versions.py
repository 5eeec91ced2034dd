"""
Run the integration tests against the oldest and the newest SDKs, each in an environment of its own.

    python tests/versions.py                       # all of them
    python tests/versions.py openai-1 newest       # some
    python tests/versions.py --python python3.13   # and all tests on other Pythons
    python tests/versions.py --list

Environments are made in a temporary folder with `uv` when it is there, else with `venv` and `pip`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "jsonschema[format]")
LANGCHAIN_TESTS = ("tests/integrations", "-k", "langchain")
LANGCHAIN_TOOLS = ("langchain", "langchain-openai", "langgraph")


@dataclass(frozen=True)
class Environment:
    """An interpreter and a set of packages that tests must pass with."""

    name: str
    packages: tuple[str, ...]
    python: str = sys.executable
    tests: tuple[str, ...] = ("tests/integrations",)


MATRIX = (
    # 1.26 is the first that can ask for the usage of a stream. Before 1.56 it hands httpx an
    # argument that httpx 0.28 no longer takes.
    Environment("openai-oldest", ("openai==1.26.0", "httpx<0.28")),
    # The newest 1.x, with the oldest of what else we need.
    Environment("openai-1", ("openai<2", "wrapt==1.16.0", "orjson==3.10.0")),
    Environment("openai-2", ("openai<3",)),
    Environment("openai-3", ("openai<4",)),
    Environment("langchain-0.3", ("langchain-core<0.4", *LANGCHAIN_TOOLS), tests=LANGCHAIN_TESTS),
    Environment("langchain-1.7", ("langchain-core<1.8", *LANGCHAIN_TOOLS), tests=LANGCHAIN_TESTS),
    Environment("newest", ("openai", "langchain-core", *LANGCHAIN_TOOLS), tests=LANGCHAIN_TESTS),
)

ONCE = (
    "tests/test_style.py",
    "tests/viewer/test_browser.py",
    "tests/test_launch_same.py",
    "tests/test_launch_servers.py",
    "tests/test_launch_workers.py",
)
"""Tests of what is the same on each Python, or is other programs' part, and takes long."""


def on(python: str) -> Environment:
    """Describe an environment for the tests on another Python, but for `ONCE`."""
    code = "import sys; print('python-%d.%d' % sys.version_info[:2])"
    name = run([python, "-c", code]).strip()
    tests = (*(f"--ignore={path}" for path in ONCE), "tests")
    return Environment(name, (f"{ROOT}[dev]",), python, tests)


@dataclass(frozen=True)
class Result:
    """What became of one environment."""

    name: str
    passed: bool
    seconds: float
    output: str


def make(folder: Path, environment: Environment) -> Path:
    """Make an environment with this checkout and its packages, and return its interpreter."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = [str(ROOT), *TOOLS, *environment.packages]
    uv = shutil.which("uv")
    if uv is not None:
        try:
            run([uv, "venv", "--quiet", "--python", environment.python, str(folder)])
            run([uv, "pip", "install", "--quiet", "--python", str(python), *wanted])
        except RuntimeError:
            # pip may know ways to packages that uv was not told of.
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return python
    run([environment.python, "-m", "venv", str(folder)])
    run([str(python), "-m", "pip", "install", "--quiet", *wanted])
    return python


def run(command: Sequence[str]) -> str:
    """Run a command in the checkout; its output is all it says."""
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def versions(python: Path) -> str:
    """Say which releases the environment has of what matters."""
    code = (
        "from importlib.metadata import distributions as d\n"
        "names = {'openai', 'langchain-core', 'httpx', 'httpx2', 'wrapt', 'orjson'}\n"
        "print(*sorted(f\"{x.name} {x.version}\" for x in d() if x.name in names), sep=', ')"
    )
    return run([str(python), "-c", code]).strip()


def test(environment: Environment, parent: Path) -> Result:
    """Make an environment and run the tests in it."""
    begin = time.monotonic()
    output = ""
    try:
        python = make(parent / environment.name, environment)
        output = versions(python)
        # Old releases meet newer interpreters and neighbours, about which they may grumble.
        options = ["-p", "no:cacheprovider", "-W", "default", *environment.tests]
        output += "\n" + run([str(python), "-m", "pytest", *options])
    except RuntimeError as error:
        return Result(environment.name, False, time.monotonic() - begin, f"{output}\n{error}")
    return Result(environment.name, True, time.monotonic() - begin, output)


def main() -> int:
    """Run the environments that were asked for, and say how each did."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("names", nargs="*", metavar="NAME", help="environments, else all")
    parser.add_argument("--list", action="store_true", help="name the environments")
    parser.add_argument("--jobs", type=int, default=3, help="how many at once (3)")
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help="one more")
    options = parser.parse_args()
    known = {environment.name: environment for environment in MATRIX}
    if unknown := set(options.names) - known.keys():
        parser.error(f"no environment named {', '.join(sorted(unknown))}: see --list")
    if options.list:
        print("\n".join(f"{each.name:22}{' '.join(each.packages)}" for each in MATRIX))
        return 0
    # All tests on a Python take longest, so they begin first.
    chosen = [on(python) for python in options.python]
    chosen += [known[name] for name in options.names] or MATRIX
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda each: test(each, Path(folder)), chosen))
    for result in results:
        print(f"=== {result.name}: {'passed' if result.passed else 'FAILED'}", end=" ")
        print(f"in {result.seconds:.0f} s\n{tail(result)}")
    return 0 if all(result.passed for result in results) else 1


def tail(result: Result) -> str:
    """Keep of the output what a reader needs: all of a failure, else versions and last line."""
    lines = result.output.strip().splitlines()
    return result.output if not result.passed else "\n".join([*lines[:1], *lines[-1:]])


if __name__ == "__main__":
    sys.exit(main())
