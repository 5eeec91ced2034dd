"""The transports of these tests are made, ended and checked as those of `tests/transport` are."""

from tests.transport.conftest import forgiving, transport

__all__ = ["forgiving", "transport"]
