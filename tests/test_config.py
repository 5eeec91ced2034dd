"""Settings: arguments over environment over defaults, and errors that say the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from instrument import ConfigError
from instrument.config import Settings, disabled, exporter_names, read

APP_ID = "b0000000-0000-4000-8000-000000000001"


def names(settings: Settings) -> list[str]:
    """Give the names of the exporters."""
    return [exporter.name for exporter in settings.exporters]


def test_nothing_set() -> None:
    """With no key the store alone is used, and it is known that nobody chose it."""
    settings = read({}, {})

    assert (names(settings), settings.chosen) == (["sqlite"], False)
    assert (settings.sample_rate, settings.flush_interval, settings.capture_content) == (1, 1, True)


def test_keys_choose() -> None:
    """A key in the environment turns its destination on, and the store stays off."""
    settings = read({}, {"LLMONITOR_APP_ID": APP_ID})

    assert (names(settings), settings.chosen) == (["llmonitor"], True)


def test_names_choose() -> None:
    """INSTRUMENT_EXPORTERS stands above the keys, and the argument above both."""
    env = {"LLMONITOR_APP_ID": APP_ID, "INSTRUMENT_EXPORTERS": " sqlite, llmonitor "}

    assert names(read({}, env)) == ["sqlite", "llmonitor"]
    assert names(read({"exporters": ["sqlite"]}, env)) == ["sqlite"]
    assert names(read({"exporters": "llmonitor"}, env)) == ["llmonitor"]


def test_environment_and_arguments() -> None:
    """Each option has its variable, below the argument."""
    env = {
        "INSTRUMENT_USER_ID": "u",
        "INSTRUMENT_CAPTURE_CONTENT": "0",
        "INSTRUMENT_SAMPLE_RATE": "0.25",
        "INSTRUMENT_FLUSH_INTERVAL": "5",
    }
    settings = read({"user_id": "v"}, env)

    assert settings.user_id == "v"
    assert (settings.capture_content, settings.sample_rate, settings.flush_interval) == (
        False,
        0.25,
        5,
    )


@pytest.mark.parametrize(
    ("options", "env", "remedy"),
    [
        ({"exporters": ["nowhere"]}, {}, "no exporter named 'nowhere': use one of .*sqlite"),
        ({}, {"INSTRUMENT_EXPORTERS": "nowhere"}, "nowhere"),
        ({"exporters": [7]}, {}, "7 is not an exporter"),
        ({"exporters": 7}, {}, "must be a list"),
        ({"exporters": ["sqlite", "sqlite"]}, {}, "two exporters are named 'sqlite'"),
        ({"exporters": ["llmonitor"]}, {}, "LLMONITOR_APP_ID"),
        ({"sample_rate": 2}, {}, "sample_rate is 2: give a number from 0 to 1"),
        ({}, {"INSTRUMENT_SAMPLE_RATE": "often"}, "INSTRUMENT_SAMPLE_RATE is 'often'"),
        ({}, {"INSTRUMENT_FLUSH_INTERVAL": "0"}, "INSTRUMENT_FLUSH_INTERVAL is '0'"),
        ({}, {"INSTRUMENT_CAPTURE_CONTENT": "maybe"}, "set it to 1 or 0"),
        ({"user_id": 7}, {}, "user_id must be a string"),
        ({"redact": "x"}, {}, "redact must be a function"),
        ({"colour": 1}, {}, "no option 'colour'"),
        ({"hash_user_ids": True}, {}, "set INSTRUMENT_HASH_KEY"),
        ({"spool": True}, {}, "spool must be the path of a folder, not bool"),
        ({"spool": "a\0b"}, {}, "spool must be the path of a folder"),
        ({"spool": __file__}, {}, "is a file: give the path of a folder"),
        ({}, {"INSTRUMENT_SPOOL_DIR": __file__}, "is a file: give the path of a folder"),
        ({"spool_sync": "often"}, {}, "spool_sync is 'often': use one of none, batch, interval"),
        ({}, {"INSTRUMENT_SPOOL_SYNC": "1"}, "spool_sync is '1'"),
    ],
)
def test_errors(options: dict[str, Any], env: dict[str, str], remedy: str) -> None:
    """A setting that cannot be used is told with the remedy in the sentence."""
    with pytest.raises(ConfigError, match=remedy):
        read(options, env)


@pytest.mark.parametrize(
    ("options", "env", "key"),
    [
        ({}, {}, None),
        ({"hash_user_ids": "text"}, {}, b"text"),
        ({"hash_user_ids": True}, {"INSTRUMENT_HASH_KEY": "k"}, b"k"),
        ({}, {"INSTRUMENT_HASH_KEY": "k"}, b"k"),
        ({"hash_user_ids": False}, {"INSTRUMENT_HASH_KEY": "k"}, None),
    ],
)
def test_hash_key(options: dict[str, Any], env: dict[str, str], key: bytes | None) -> None:
    """The key of hashed user ids is the option itself, or comes from the environment."""
    assert read(options, env).hash_key == key


def test_spool(tmp_path: Path) -> None:
    """The spool is off by default, and its folder is the same wherever the process goes."""
    env = {"INSTRUMENT_SPOOL_DIR": "below", "INSTRUMENT_SPOOL_SYNC": "interval"}

    assert read({}, {}).spool is None
    assert (read({}, env).spool, read({}, env).spool_sync) == (
        str(Path.cwd() / "below"),
        "interval",
    )
    assert read({"spool": tmp_path}, env).spool == str(tmp_path)
    assert read({"spool": ""}, env).spool is None


@pytest.mark.parametrize(
    ("value", "expected"), [("", False), ("0", False), ("false", False), ("1", True), ("yes", True)]
)
def test_disabled(value: str, expected: bool) -> None:
    """INSTRUMENT_DISABLED is off, on, or absent."""
    assert disabled({"INSTRUMENT_DISABLED": value}) is expected
    assert disabled({}) is False


def test_found_by_name() -> None:
    """Every module of the folder is an exporter, and helpers are not."""
    assert {"llmonitor", "sqlite"} <= set(exporter_names())
    assert not [name for name in exporter_names() if name.startswith("_")]
