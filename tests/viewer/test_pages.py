"""What the pages show of a store."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import orjson
import pytest

from instrument.run import Answer, Attempt, Error, Feedback, Usage, UserEvent
from instrument.store.questions import SCANNED_RUNS

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def shown(answer):
    """List the traces of a list, in its order."""
    assert answer.status_code == 200
    return re.findall(r'<tr id="t-([^"]+)"', answer.text)


def words(answer):
    """Take the text of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


class Elements(HTMLParser):
    """The names of a page's elements and of their attributes, as a browser reads them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(name for name, _ in attrs)


@pytest.fixture
def mixed(write, story):
    """A store with one run of each sort."""
    write(
        story.run("ok", 1, input=[story.user("Hello there")], output=story.assistant("General")),
        story.run("bad", 2, error=Error("no more quota", "RateLimitError", None, 429)),
        story.run("half", 3, partial="closed", output=story.assistant("Once")),
        story.run("open", 4, duration=None),
        story.run("other", 5, name="o3", kind="llm", user_id="ada/é", thread_id="t 1&2"),
        story.run("tagged", 6, tags=("beta",), kind="tool", name="search"),
    )


def test_newest_first(client, mixed):
    """The list shows every trace, the newest first."""
    assert shown(client.get("/")) == ["tagged", "other", "open", "half", "bad", "ok"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=error", ["bad"]),
        ("status=partial", ["half"]),
        ("status=open", ["open"]),
        ("model=o3", ["other"]),
        ("user=ada/%C3%A9", ["other"]),
        ("thread=t%201%262", ["other"]),
        ("tag=beta", ["tagged"]),
        ("kind=tool", ["tagged"]),
        ("q=general", ["ok"]),
        ("q=quota", ["bad"]),
        ("q=hello&status=error", []),
        ("range=15m", []),
        ("range=24h&status=ok", ["tagged", "other", "ok"]),
        ("status=&q=+&model=", ["tagged", "other", "open", "half", "bad", "ok"]),
    ],
)
def test_filters(client, mixed, query, expected):
    """Each filter of the form leaves out what does not match, and says that it is in use."""
    answer = client.get(f"/?{query}")

    assert shown(answer) == expected
    assert ("Clear all" in answer.text) == (len(expected) < 6)


def test_times(client, mixed, story):
    """A stretch of time is given in this machine's zone."""
    since, until = (story.later(at).astimezone().replace(tzinfo=None) for at in (2, 4))

    answer = client.get("/", params={"since": since.isoformat(), "until": until.isoformat()})

    assert shown(answer) == ["half", "bad"]


@pytest.mark.parametrize("query", ["status=odd", "kind=odd", "range=odd", "since=odd", "until=odd"])
def test_what_is_not_understood(client, mixed, query):
    """A filter that is not understood is said, and left out."""
    answer = client.get(f"/?{query}")

    assert len(shown(answer)) == 6
    assert "“odd” is no" in answer.text


def test_pages_of_a_list(client, write, story):
    """A long list goes on over pages, with links from each to the next and back."""
    write(*(story.run(f"run-{number:03}", number) for number in range(120)))

    pages = [shown(client.get(f"/?status=ok&page={number}")) for number in (1, 2, 3)]

    assert [len(page) for page in pages] == [50, 50, 20]
    assert [*pages[0], *pages[1], *pages[2]] == [f"run-{n:03}" for n in reversed(range(120))]
    second = client.get("/?status=ok&page=2").text
    assert 'href="/?status=ok"' in second
    assert 'href="/?status=ok&amp;page=3"' in second


@pytest.mark.parametrize("page", ["0", "-1", "x", "1e9", "99999999999", "²", "9" * 5000])
def test_odd_page_numbers(client, mixed, page):
    """An odd page number is no reason to fail."""
    assert client.get("/", params={"page": page}).status_code == 200


def test_figures(client, write, story):
    """The list has totals: runs, tokens, latency and the share of errors, over time."""
    runs = [
        story.run(f"r{n}", n * 60, duration=float(n), usage=Usage(1_000, 500), error=None)
        for n in range(1, 20)
    ]
    write(*runs, story.run("bad", 5, duration=20.0, error=Error("x", "E")))

    text = words(client.get("/"))

    assert "Runs 20 20 model calls" in text
    assert "Error rate 5.0 % 1 error" in text
    assert "10.00 s p50 · p95 19.00 s" in text
    assert "28.5k 19.0k in · 9.50k out" in text


def test_bars_lead_to_their_runs(client, write, story):
    """The link of a bar shows the runs that the bar counts."""
    write(*(story.run(f"r{number}", number * 60) for number in range(100)))

    bars = re.findall(r'<a href="([^"]+)" tabindex="-1"><title>([^<]+)', client.get("/").text)
    (href, label) = bars[3]

    assert len(shown(client.get(html.unescape(href)))) == int(
        label.rpartition("ok ")[2].split(",")[0]
    )


def test_everything_is_escaped(client, write, story):
    """What came from outside is text wherever it stands, never markup."""
    call = {"id": "1", "type": "function", "function": {"name": EVIL, "arguments": EVIL}}
    content = [{"type": "text", "text": EVIL}, {"type": "image_url", "image_url": {"url": EVIL}}]
    evil = story.run(
        "evil",
        name=EVIL,
        input=[{"role": EVIL, "content": content, "name": EVIL}],
        output=story.assistant(EVIL, tool_calls=[call], reasoning_content=EVIL, refusal=EVIL),
        error=Error(EVIL, EVIL, EVIL),
        params={EVIL: EVIL},
        metadata={EVIL: EVIL},
        user_props={EVIL: EVIL},
        answer=Answer(model=EVIL, rate_limits={EVIL: EVIL}, finish_reasons=(EVIL,)),
        user_id=EVIL,
        thread_id=EVIL,
        tags=(EVIL,),
        partial=EVIL,
    )
    write(evil, Feedback(run_id="evil", at=story.now, comment=EVIL, user_id=EVIL))
    query = {"id": EVIL}
    filters = dict.fromkeys(("q", "model", "user", "thread", "tag", "status", "since"), EVIL)

    for path, params in (
        ("/", {}),
        ("/", filters),
        ("/traces/evil", {}),
        ("/threads", {}),
        ("/users", {"q": "script"}),
        ("/user", query),
        ("/thread", query),
    ):
        page = client.get(path, params=params).text
        elements = Elements(page)
        assert "alert(1)" in page
        assert elements.tags.count("script") == 1
        assert "img" not in elements.tags
        assert not [name for name in elements.attributes if name.startswith(("on", "style"))]


def test_nothing_stands_inline(client, mixed, story, write):
    """No page has an inline script or style, which the policy would forbid."""
    for path in ("/", "/traces/bad", "/threads", "/users", "/nowhere"):
        page = client.get(path).text

        assert " style=" not in page
        assert "<style" not in page
        assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/page.js" defer>']
        assert not re.findall(r'(?:src|href)="(?!/|\?|#)[^"]*"', page)


def test_one_trace(client, write, story):
    """A trace is a tree on a time axis, with the root's words, figures and facts beside it."""
    child = {"trace_id": "root", "parent_id": "root"}
    write(
        story.run(
            "root", 0, kind="agent", name="planner", duration=4.0, input="Plan", output="Done"
        ),
        story.run("call", 1, duration=1.0, usage=Usage(10, 5), **child),
        story.run("tool", 2, kind="tool", name="look", error=Error("gone", "LookupError"), **child),
        Feedback(run_id="root", at=story.now, thumb="up", score=0.5, comment="nice"),
    )

    text = words(client.get("/traces/root"))

    assert "planner" in text
    assert "4.00 s 3 runs 10 → 5 tokens" in text
    assert "1 run failed: look LookupError: gone" in text
    assert "thumb up score 0.5 “nice”" in text
    assert "input Copy this message Plan" in text
    assert "output Copy this message Done" in text


def test_one_run_of_a_trace(client, write, story):
    """Another run of the trace is shown whole when its link is followed."""
    child = {"trace_id": "root", "parent_id": "root"}
    answer = Answer(
        provider="openai",
        model="gpt-4o-2024",
        attempts=(Attempt(0.1, 429), Attempt(0.5, 200)),
        time_to_first_token=0.25,
        rate_limits={"remaining-requests": "59"},
    )
    more = {"params": {"temperature": 0.5}, "answer": answer, "usage": Usage(10, 5, 15, cached=4)}
    write(story.run("root"), story.run("call", input=[story.user("Why?")], **child, **more))

    text = words(client.get("/traces/root?run=call"))

    for fact in (
        "user Copy this message Why?",
        "first token 250 ms",
        "of them cached 4",
        "provider openai",
        "HTTP 429, after 100 ms",
        "remaining-requests 59",
        "temperature 0.5",
    ):
        assert fact in text
    assert "reasoning" not in text.lower()


def test_costs(client, write, story):
    """A trace and its run say what they cost; what is not known is no amount, and never 0."""
    pytest.importorskip("genai_prices", reason="the extra [cost] is not installed")
    child = {"trace_id": "root", "parent_id": "root"}
    answer = Answer(provider="openai", model="gpt-4o-2024-08-06")
    write(
        story.run("root", kind="agent", name="planner"),
        story.run("known", 1, usage=Usage(1_000_000, 0), answer=answer, **child),
        story.run("unknown", 2, name="nobody-s-model", **child),
    )

    known, unknown = (words(client.get(f"/traces/{name}")) for name in ("known", "unknown"))

    assert known.count("$2.50") == 2
    assert "$2.50 + ?" in known
    assert unknown.count("$") == 1


def test_costs_in_lists(client, write, story):
    """Lists and charts have what calls cost; where nothing of it is known they have no column."""
    pytest.importorskip("genai_prices", reason="the extra [cost] is not installed")
    answer = Answer(provider="openai", model="gpt-4o-2024-08-06")
    whose = {"user_id": "ada", "thread_id": "t"}
    write(story.run("plain", usage=Usage(5, 5), **whose))
    without = [words(client.get(address)) for address in ("/", "/users", "/threads")]
    write(story.run("known", 1, usage=Usage(1_000_000, 0), answer=answer, **whose))

    assert not [text for text in without if "$" in text or "Cost" in text]
    assert "Cost $2.50 + ? 1 unpriced" in words(client.get("/"))
    for address in ("/users", "/threads"):
        assert "$2.50 + ?" in words(client.get(address))
    assert "1 call without a known price" in client.get("/users").text


def test_signs_alone(client, write, story):
    """A search that does not look through everything says so, any other does not."""
    write(*(story.run(f"r{n}", n) for n in range(SCANNED_RUNS + 1)))

    assert "newest 5,000 runs" in words(client.get("/", params={"q": "?!"}))
    assert "newest" not in words(client.get("/", params={"q": "gpt?!"}))


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/traces/none", 404),
        ("/traces/ok?run=bad", 404),
        ("/traces/ok?run=none", 404),
        ("/runs/none.json", 404),
        ("/user?id=nobody", 404),
        ("/user", 404),
        ("/thread?id=none", 404),
        ("/user?id=ada/%C3%A9&page=2", 404),
        ("/nowhere", 404),
        ("/traces/o", 404),
        ("/traces/bad", 200),
        ("/traces/ba", 200),
    ],
)
def test_what_is_not_there(client, mixed, address, status):
    """What is not there is said so, in a page; the beginning of an id is enough."""
    answer = client.get(address)

    assert answer.status_code == status
    assert "<h1>" in answer.text


def test_raw_json(client, write, story):
    """The raw JSON of a run has its input and output as JSON, and only what is known."""
    write(story.run("a", input=[story.user("Hi")], output=story.assistant("Ho"), params={"n": 1}))

    answer = client.get("/runs/a.json")

    assert answer.headers["content-type"] == "application/json"
    run = orjson.loads(answer.content)
    assert run["input"] == [{"role": "user", "content": "Hi"}]
    assert run["output"]["content"] == "Ho"
    assert run["params"] == {"n": 1}
    assert "error" not in run
    assert "usage" not in run


def test_users_and_threads(client, write, story):
    """Users and threads have lists, those seen last first, with what their runs come to."""
    write(
        story.run("a", 0, user_id="ada", thread_id="t1", usage=Usage(1_000, 2_000)),
        story.run("b", 9, user_id="ada", thread_id="t2", error=Error("x", "E")),
        story.run("c", 5, user_id="bob", thread_id="t1"),
    )

    users, threads = client.get("/users"), client.get("/threads")

    assert re.findall(r'href="/user\?id=(\w+)"', users.text) == ["ada", "bob"]
    assert re.findall(r'href="/thread\?id=(\w+)"', threads.text) == ["t2", "t1"]
    assert "2 traces 2 runs 1 error 1.00k → 2.00k tokens" in words(users)
    assert re.findall(r'href="/user\?id=(\w+)"', client.get("/users?q=B").text) == ["bob"]


def test_sessions_of_a_user(client, write, story):
    """Half an hour of quiet ends a session; what else the user did counts as a sign."""
    minute = 60
    write(
        story.run("a", 0, user_id="ada"),
        story.run("b", 20 * minute, user_id="ada"),
        UserEvent(name="Copy", at=story.later(40 * minute), user_id="ada"),
        story.run("c", 69 * minute, user_id="ada"),
        story.run("d", 110 * minute, user_id="ada"),
        story.run("e", 0, user_id="bob"),
    )

    page = client.get("/user?id=ada")

    assert "2 sessions" in page.text
    assert shown(page) == ["d", "c", "b", "a"]
    parts = page.text.split('<section class="session"')[1:]
    assert [shown(type("Part", (), {"text": part, "status_code": 200})) for part in parts] == [
        ["d"],
        ["c", "b", "a"],
    ]
    assert "3 runs · 1 event" in parts[1]


def test_thread_in_its_order(client, write, story):
    """A thread reads from its beginning to its end, with its pauses."""
    write(*(story.run(f"r{n}", at, thread_id="t") for n, at in enumerate((0, 60, 4000, 4060))))

    page = client.get("/thread?id=t")

    assert shown(page) == ["r0", "r1", "r2", "r3"]
    assert page.text.count('<section class="session"') == 2


def test_long_thread(client, write, story):
    """A long thread begins with its end, and leads to what was before."""
    write(*(story.run(f"r{n:02}", n, thread_id="t") for n in range(60)))

    last, first = client.get("/thread?id=t"), client.get("/thread?id=t&page=2")

    assert shown(last) == [f"r{n:02}" for n in range(10, 60)]
    assert shown(first) == [f"r{n:02}" for n in range(10)]
    assert 'href="/thread?id=t&amp;page=2"' in last.text
    assert 'href="/thread?id=t"' in first.text


def test_what_is_new(client, write, story):
    """A page can ask what was written since it was made."""
    write(story.run("a"))
    after = int(re.search(r'data-after="(\d+)"', client.get("/").text)[1])

    assert client.get(f"/changes?after={after}").json() == {"after": after, "ids": []}
    write(story.run("b", duration=None))
    news = client.get(f"/changes?after={after}").json()
    assert news["ids"] == ["b"]
    assert client.get(f"/changes?after={news['after']}").json()["ids"] == []


@pytest.mark.parametrize("after", ["", "x", "-1", "1" * 40, "²"])
def test_odd_changes(client, mixed, after):
    """An odd question for news is a question from the beginning."""
    assert len(client.get("/changes", params={"after": after}).json()["ids"]) == 6


@pytest.mark.parametrize("address", ["/", "/threads", "/users", "/?status=ok"])
def test_no_store_yet(client, write, story, address):
    """Without a store the pages say how to begin, and show runs as soon as there are some."""
    before = client.get(address)
    assert before.status_code == 200
    assert client.get("/changes?after=0").json() == {"after": 0, "ids": []}

    write(story.run("a", user_id="ada", thread_id="t"))

    assert "No " in before.text
    assert 'class="row-link"' not in before.text
    assert 'class="row-link"' in client.get(address).text


def test_no_store_for_one_trace(client):
    """One trace of no store is not found."""
    assert client.get("/traces/a").status_code == 404


def test_no_store_at_all(client, path):
    """A file that is no store is said to be none."""
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)

    answer = client.get("/")

    assert answer.status_code == 503
    assert "cannot be read" in answer.text


def test_figures_are_added_up_once(client, write, story):
    """While nothing is written the figures are kept; what is written is in them at once."""
    write(story.run("a"))
    first = client.get("/").text

    write(story.run("b", 1))

    assert "1 model call" in first
    assert "2 model calls" in client.get("/").text
