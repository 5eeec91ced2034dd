"""Who may see the page, and what the page may do in a browser."""

from __future__ import annotations

import asyncio

import pytest

TOKEN = "a-token-for-tests"
PAGES = ["/", "/threads", "/users", "/changes", "/nowhere", "/static/page.css", "/runs/x.json"]


@pytest.mark.parametrize("path", [*PAGES, "/?q=<b>", f"/?token={TOKEN}", "/?token=wrong"])
def test_every_answer_has_safe_headers(stranger, path):
    """Whatever is answered, with or without the token, has all of the headers."""
    headers = stranger.get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_policy_allows_this_page_alone(stranger):
    """No source is allowed but the page's own, so it works offline and loads nothing."""
    policy = stranger.get("/").headers["content-security-policy"]
    sources = {word for part in policy.split("; ") for word in part.split(" ")[1:]}

    assert sources == {"'none'", "'self'"}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8000",
        "0.0.0.0",
        "",
        "[::1]",
        "10.0.0.1",
    ],
)
def test_strange_names_are_refused(client, host):
    """A name that is not this machine's own is refused, token or not: a rebound DNS name."""
    answer = client.get("/", headers={"host": host})

    assert answer.status_code == 421
    assert "Traces" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "LOCALHOST:9"])
def test_own_names(client, host):
    """This machine's own names are taken, with any port: it may be a forwarded one."""
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/threads", "/changes", "/runs/x.json", "/?token=wrong", "/x"]
)
def test_no_token(stranger, path):
    """Without the token there is nothing to see, not even whether a page is there."""
    answer = stranger.get(path)

    assert answer.status_code == 403
    assert "the address that the terminal shows" in answer.text


def test_token_becomes_a_cookie(stranger):
    """The token goes from the address into a cookie that no script and no other site has."""
    answer = stranger.get(f"/?q=a%20b&token={TOKEN}")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/?q=a+b"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert stranger.get("/").status_code == 200


def test_redirect_stays_here(stranger):
    """A path that begins like another host's address does not lead there."""
    answer = stranger.get(f"http://127.0.0.1:8000//evil.example/x?token={TOKEN}")

    assert answer.headers["location"] == "/evil.example/x"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "é", "\udcff"])
def test_wrong_tokens(site, token):
    """Only the token itself is the token, in the cookie as in the address."""
    door = pytest.importorskip("instrument.viewer.door").Door(TOKEN, "c")

    assert door.judge("/", "localhost", {"token": token}, {"c": token}) == "no token"
    assert door.judge("/", "localhost", {}, {"c": TOKEN}) == "in"


def test_cookie_has_the_port(stranger):
    """Cookies do not tell ports apart, so two pages at once have two cookies."""
    assert "instrument_8000=" in stranger.get(f"/?token={TOKEN}").headers["set-cookie"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading(client, method):
    """Nothing but reading is answered."""
    assert client.request(method, "/").status_code == 405


@pytest.mark.parametrize("name", ["page.css", "page.js", "icon.svg"])
def test_static_files(stranger, name):
    """The style is there for whoever is told that a token is missing."""
    answer = stranger.get(f"/static/{name}")

    assert answer.status_code == 200
    assert answer.text


@pytest.mark.parametrize("name", ["..%2Fapp.py", "%2e%2e/app.py", "app.py", "/etc/passwd", "x"])
def test_no_other_files(client, name):
    """Only the three files of the page are served."""
    assert client.get(f"/static/{name}").status_code == 404


def test_other_protocols_get_no_answer(site):
    """What is no HTTP (a lifespan, a web socket) is left alone."""
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(site({"type": "lifespan"}, None, send))

    assert sent == []
