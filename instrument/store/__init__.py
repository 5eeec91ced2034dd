"""Reading the embedded store, for the command line and the web page."""

from .questions import EVERYTHING, Bucket, Field, Filters, Session, Summary, Totals, Value
from .reader import Store, StoreError

__all__ = [
    "EVERYTHING",
    "Bucket",
    "Field",
    "Filters",
    "Session",
    "Store",
    "StoreError",
    "Summary",
    "Totals",
    "Value",
]
