"""Where a destination is and what opens it, checked before the first request."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..run import ConfigError

PLAIN = {"Content-Encoding": "identity"}
"""For a backend of which nobody knows whether it reads gzip; none of its own clients sends it."""


def checked_key(key: str | None, variable: str) -> str:
    """
    Check a key that goes into a header.

    Raises:
        ConfigError: There is none, or it has characters that no key has.
    """
    secret = (key or "").strip()
    if not secret:
        raise ConfigError(f"set {variable} to the project's key")
    if not (secret.isascii() and secret.isprintable()):
        raise ConfigError(f"copy {variable} again: it has characters that no key has")
    return secret


def checked_url(url: str, variable: str) -> str:
    """
    Check a base URL, and give it without a slash at its end.

    Raises:
        ConfigError: It is not an http(s) URL, or it holds credentials, a query or a fragment.
    """
    base = url.strip().rstrip("/")
    try:
        parts = urlsplit(base)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    else:
        usable = usable and "@" not in parts.netloc and not (parts.query or parts.fragment)
    if not usable:
        raise ConfigError(f"set {variable} to a URL like https://host.example.com")
    return base
