"""One file per destination; see `_base` for what such a file holds."""
