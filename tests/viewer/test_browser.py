"""The page in a real browser: what it looks like to keys, to a reader, and while runs come in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instrument.run import Error, Usage

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
AXE = Path(os.environ.get("AXE_CORE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SERVE = "import sys; from instrument import viewer; viewer.serve(sys.argv[1], open_browser=False)"
EVIL = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def chromium():
    """Start the browser once."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("uvicorn", reason="the extra [view] is not installed")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def url(path):
    """Serve the store, and give the address with the token."""
    command = [sys.executable, "-c", SERVE, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.fixture
def page(chromium, url):
    """Open the page, and note what the browser complains about."""
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(15_000)
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    page.asked = asked
    yield page
    origin = url.partition("/?")[0]
    assert complaints == []
    assert [each for each in asked if not each.startswith(origin)] == []
    context.close()


@pytest.fixture
def agent(write, story):
    """A trace of an agent with a tool that failed, and a single call."""
    child = {"trace_id": "root", "parent_id": "root"}
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
    asked = [story.user("Where is it?"), story.assistant(None, tool_calls=[call])]
    write(
        story.run("root", 0, kind="agent", name="finder", duration=4.0, input="Find it"),
        story.run("call", 1, input=asked, output=story.assistant("Here."), **child),
        story.run("tool", 2, kind="tool", name="look", error=Error("gone", "LookupError"), **child),
        story.run("single", 60, name="o3", usage=Usage(10, 5), user_id="ada", thread_id="t"),
    )


def test_token_leaves_the_address(agent, page):
    """The token is not in the address that stays, nor can a script read the cookie."""
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""


def test_from_list_to_run(agent, page):
    """From the list to a trace, and from its tree to one run, without a reload of the page."""
    page.get_by_role("link", name="finder").click()
    page.wait_for_selector("html.js article.run")
    page.evaluate("window.mark = 1")

    page.locator(".fall .row-link").nth(1).click()

    page.wait_for_selector("article.run:has-text('Here.')")
    assert page.url.endswith("?run=call")
    assert page.evaluate("window.mark") == 1
    page.go_back()
    page.wait_for_selector("article.run:has-text('Find it')")


def test_markup_stays_text(page, write, story):
    """A prompt with a script in it is read as text, in the list and in the trace."""
    write(story.run("a", input=[story.user(EVIL)], output=story.assistant(EVIL), name=EVIL))
    page.reload()
    assert "document.title" in page.locator(".traces .prompt").text_content()

    page.locator(".traces .row-link").click()
    page.wait_for_selector("html.js article.run")

    assert page.locator("#in-1-1").text_content() == EVIL
    assert "owned" not in page.title().partition(" ·")[0].replace(EVIL, "")
    assert page.locator("article img").count() == 0


def test_filters_without_empty_ones(agent, page):
    """Searching asks for what was typed, and for nothing that was left empty."""
    page.get_by_role("searchbox").fill("here")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=here")

    assert page.locator(".traces .row-link").count() == 1
    page.get_by_role("link", name="Clear all").click()
    page.wait_for_selector(".traces tr:nth-child(2)")


def test_new_runs_come_by_themselves(agent, page, write, story):
    """New runs, and ends of open ones, appear without a reload; focus stays where it is."""
    page.evaluate("window.mark = 1")
    page.locator(".traces .row-link").last.focus()

    write(story.run("new", 90, name="newest", duration=None))
    page.wait_for_selector("tr.open:has-text('newest')")
    write(story.run("new", 90, name="newest", output=story.assistant("Over.")))
    page.wait_for_selector("tr.ok:has-text('Over.')")

    assert page.evaluate("window.mark") == 1
    assert page.evaluate("document.activeElement.textContent").strip().endswith("finder")


def test_an_open_trace_goes_on(agent, page, write, story):
    """The page of a trace shows runs as they join it, and keeps what was unfolded."""
    page.get_by_role("link", name="finder").click()
    page.wait_for_selector("html.js article.run")
    page.get_by_text("Raw JSON", exact=True).click()
    page.wait_for_selector("#raw:has-text('Find it')")

    write(story.run("late", 3, kind="tool", name="latecomer", trace_id="root", parent_id="root"))

    page.wait_for_selector(".fall .name:text('latecomer')")
    assert page.locator("#raw-details").evaluate("details => details.open")
    assert "Find it" in page.locator("#raw").text_content()


def test_first_runs_of_all(page, write, story):
    """A page that was opened before there was a store fills itself."""
    page.wait_for_selector("text=No runs yet")

    write(story.run("a", name="first-of-all"))

    page.wait_for_selector(".traces .name:text('first-of-all')")


def test_paused(agent, page, write, story):
    """Live can be switched off: then nothing is asked for."""
    page.get_by_role("button", name="Live").click()
    assert page.get_by_role("button", name="Paused").get_attribute("aria-pressed") == "false"
    before = len(page.asked)

    write(story.run("new", 90, name="newest"))
    time.sleep(2.5)

    assert len(page.asked) == before


def test_keys(agent, page):
    """The page is used without a mouse: search, steps through a list, opening."""
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("html.js article.run")

    page.locator(".fall .row-link").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    page.wait_for_selector("article.run:has-text('Here.')")


def test_tab_reaches_everything(agent, page):
    """Going on with the tab key alone leads to every link, button and field."""
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.outerHTML.slice(0, 60)"))
    controls = page.locator(
        "a:visible:not([tabindex='-1']), button:visible, input:visible, select:visible, summary"
    )
    wanted = {text[:60] for text in controls.evaluate_all("all => all.map(e => e.outerHTML)")}

    assert wanted - seen == set()


def test_copy(agent, page):
    """A button copies a message, or the raw JSON, as it was recorded."""
    page.goto(re.sub(r"/$", "", page.url) + "/traces/call")

    page.get_by_role("button", name="Copy this message").first.click()
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "Where is it?"
    page.get_by_text("Raw JSON", exact=True).click()
    page.get_by_role("button", name="Copy the raw JSON").click()
    page.wait_for_function('navigator.clipboard.readText().then(t => t.includes(\'"id": "call"\'))')


def test_without_script(chromium, url, agent):
    """Everything but what is live works without the script."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)

    page.get_by_role("link", name="finder").click()
    page.locator(".fall .row-link").nth(1).click()

    assert "Here." in page.locator("article.run").text_content()
    assert page.get_by_role("button", name="Copy").count() == 0
    context.close()


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_sticks_out(agent, page, width):
    """On a narrow screen nothing has to be scrolled sideways."""
    page.set_viewport_size({"width": width, "height": 800})
    for address in ("/", "/?user=ada", "/traces/root", "/traces/single", "/users", "/user?id=ada"):
        page.goto(re.sub(r"(:\d+)/.*", rf"\1{address}", page.url))

        assert page.evaluate("document.documentElement.scrollWidth") <= width, address


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/?user=ada&q=x",
        "/traces/root?run=tool",
        "/traces/call",
        "/traces/4eb5bf28-ba53-4c1f-8b7d-1f0c3a5e7d90",
        "/users",
        "/user?id=ada",
    ],
)
def test_accessible(agent, page, write, story, scheme, address):
    """axe-core finds no serious violation, in light and in dark, on a wide screen and a phone."""
    write(story.run("4eb5bf28-ba53-4c1f-8b7d-1f0c3a5e7d90", 90))  # as long as ids are in life
    if not AXE.exists():
        pytest.skip("axe-core is not there: `npm install axe-core`, or name axe.min.js in AXE_CORE")
    page.emulate_media(color_scheme=scheme)
    page.goto(re.sub(r"(:\d+)/.*", rf"\1{address}", page.url))
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})

        found = page.evaluate("axe.run()")["violations"]

        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
