"""
What `instrument run` puts first on the path: Python imports it by itself, before the program.

It steps aside for the `sitecustomize` that would have been imported without it. The process that was
asked for is traced then and there; any other that it starts, once it imports an SDK, so that those
which never do start as fast as before. Every Python among them reads this file, so every Python can:
one that cannot trace (too old, or without the packages that tracing needs) is left as it is.
"""

import importlib
import os
import sys

_SDKS = ("openai", "langchain_core")

_here = os.path.dirname(os.path.abspath(__file__))
_root = os.path.dirname(os.path.dirname(_here))
_installed = os.path.basename(_root) in ("site-packages", "dist-packages")
_this = sys.modules.pop("sitecustomize")
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]


def _start():  # type: () -> str
    """Trace this process; give what keeps it from being traced, if anything does."""
    if sys.version_info < (3, 10):
        return "Python is older than 3.10"
    from importlib.machinery import PathFinder

    # A checkout lends its package to the program. An installation in another Python does not,
    # because its neighbours would come along.
    lent = [] if _installed or _root in sys.path else [_root]
    found = PathFinder.find_spec("instrument", sys.path + lent)
    folder = os.path.dirname((found and found.origin) or "")
    # Only this package has such a folder: a module that merely has its name is left alone.
    if not os.path.isfile(os.path.join(folder, "_bootstrap", "sitecustomize.py")):
        return "install llm-instrument there"
    sys.path += lent
    try:
        from instrument import client
    except ImportError as error:
        return "%s: install llm-instrument there" % error
    finally:
        for entry in lent:
            sys.path.remove(entry)
    client.start()
    os.environ["INSTRUMENT_QUIET"] = "1"
    return ""


class _Waiting(object):
    """A finder that finds nothing, and begins to trace when an SDK is about to be imported."""

    is_done = False

    # The signature is in a comment because Python 2 reads this as well.
    def find_spec(self, name, path=None, target=None):  # type: (str, object, object) -> None
        """Find nothing."""
        if name in _SDKS and not self.is_done:
            self.is_done = True
            _start()


try:
    importlib.import_module("sitecustomize")
except ImportError as error:
    if getattr(error, "name", None) != "sitecustomize":
        raise
    sys.modules["sitecustomize"] = _this
finally:
    if os.environ.pop("RUN_BY_INSTRUMENT", "") == str(os.getpid()):
        _hindrance = _start()
        if _hindrance:
            sys.stderr.write("instrument: not traced by %s: %s\n" % (sys.executable, _hindrance))
    elif sys.version_info >= (3, 10):
        sys.meta_path.insert(0, _Waiting())
