"""Reading the embedded store, for the command line and the web page."""

from .questions import (
    EVERYTHING,
    Bucket,
    Field,
    Filters,
    Group,
    Overview,
    Session,
    Shared,
    Slot,
    Summary,
    Totals,
    Value,
)
from .reader import Store, StoreError

__all__ = [
    "EVERYTHING",
    "Bucket",
    "Field",
    "Filters",
    "Group",
    "Overview",
    "Session",
    "Shared",
    "Slot",
    "Store",
    "StoreError",
    "Summary",
    "Totals",
    "Value",
]
