"""What is public is listed, sorted, and all there is."""

import importlib
import inspect
from importlib.metadata import PackageNotFoundError, version

import pytest

import instrument
import instrument.testing


@pytest.mark.parametrize("module", [instrument, instrument.testing])
def test_all_is_sorted(module):
    """`__all__` is in the order of the alphabet, and each name is there once."""
    assert module.__all__ == sorted(set(module.__all__))


def test_all_is_everything():
    """`__all__` is the module's public names, submodules and helpers of typing aside."""
    own = {
        name
        for name, value in vars(instrument).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }

    assert own - {"annotations", "TYPE_CHECKING", "Any"} <= set(instrument.__all__)


@pytest.mark.parametrize("name", sorted(set(instrument.__all__) - {"CallbackHandler"}))
def test_names_resolve_and_explain_themselves(name):
    """Each public name is there, and has a docstring."""
    assert inspect.getdoc(getattr(instrument, name))


def test_callback_handler_resolves():
    """The LangChain handler is found when LangChain is there."""
    pytest.importorskip("langchain_core")

    assert inspect.isclass(instrument.CallbackHandler)


def test_unknown_name():
    """A name that is not there is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = instrument.nonsense


def test_version():
    """The version comes from one place, the distribution's own metadata."""
    try:
        installed = version("llm-instrument")
    except PackageNotFoundError:
        pytest.skip("this checkout is not installed, so it has no metadata")

    assert instrument.__version__ == installed


def test_the_name_of_the_package_is_also_the_function():
    """`from instrument import instrument` and `import instrument` both read as they should."""
    assert importlib.import_module("instrument").instrument is instrument.instrument
    assert callable(instrument.instrument)
