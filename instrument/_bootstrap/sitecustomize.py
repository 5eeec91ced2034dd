"""
What `instrument run` puts first on the path: Python imports it by itself, before the program.

It steps aside for the `sitecustomize` that would have been imported without it, and then traces the
process. Every Python that the program starts reads this file, so every Python can: one that cannot
trace (too old, or without the packages that tracing needs) is left as it is.
"""

import importlib
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
_root = os.path.dirname(os.path.dirname(_here))
_installed = os.path.basename(_root) in ("site-packages", "dist-packages")
_this = sys.modules.pop("sitecustomize")
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]

try:
    importlib.import_module("sitecustomize")
except ImportError as error:
    if getattr(error, "name", None) != "sitecustomize":
        raise
    sys.modules["sitecustomize"] = _this
finally:
    # Of all the processes, the one that was asked for says why it is not traced.
    _asked = os.environ.pop("RUN_BY_INSTRUMENT", "") == str(os.getpid())
    _hindrance = "Python is older than 3.10"
    if sys.version_info >= (3, 10):
        from importlib.machinery import PathFinder

        # A checkout lends its package to the program. An installation in another Python does not,
        # because its neighbours would come along.
        _lent = [] if _installed or _root in sys.path else [_root]
        _found = PathFinder.find_spec("instrument", sys.path + _lent)
        _folder = os.path.dirname((_found and _found.origin) or "")
        _hindrance = "llm-instrument is not installed there"
        # Only this package has such a folder: a module that merely has its name is left alone.
        if os.path.isfile(os.path.join(_folder, "_bootstrap", "sitecustomize.py")):
            sys.path += _lent
            try:
                from instrument import client
            except ImportError as _error:
                _hindrance = str(_error)
            else:
                _hindrance = ""
                client.start()
                os.environ["INSTRUMENT_QUIET"] = "1"
            finally:
                for _entry in _lent:
                    sys.path.remove(_entry)
    if _hindrance and _asked:
        sys.stderr.write("instrument: not traced by %s: %s\n" % (sys.executable, _hindrance))
