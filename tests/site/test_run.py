"""Blocks of the class `run` do in the browser what they do in the tests, and a reader can change and stop them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from offloop.guide.fences import Fence
from offloop.guide.pages import Page as GuidePage
from offloop.guide.pages import docs_folder, guide_pages
from offloop.testing.expected_output import difference, matches
from tests.site.conftest import MAY_LACK_ASSETS, SITE
from tests.site.test_accessibility import AXE, faults

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

api = pytest.importorskip("playwright.sync_api", reason="python3 noxfile.py -s browser looks at the site")
pytestmark = pytest.mark.skipif(
    MAY_LACK_ASSETS and not (SITE / "vendor" / "pyodide").is_dir(),
    reason="the site was built without Node, so it has no Run buttons",
)

STARTS_WITHIN_MS = 120_000
RUNS_WITHIN_MS = 60_000
ENDED = re.compile(r"^(Finished|Raised an error) after")


def runnable(page: GuidePage) -> list[Fence]:
    return [fence for fence in page.fences if "run" in fence.classes]


PAGES = [page for page in guide_pages() if runnable(page)]


def page_at(path: str) -> GuidePage:
    return next(page for page in PAGES if path_of(page) == f"{path}/")


def path_of(page: GuidePage) -> str:
    path = page.path.relative_to(docs_folder()).with_suffix("").as_posix()
    return "" if path == "index" else f"{path}/"


class Example:
    """The buttons of one block."""

    def __init__(self, page: Page, number: int) -> None:
        self.place: Locator = page.locator(".run-here").nth(number)
        self.run = self.place.get_by_role("button", name="Run")
        self.stop = self.place.get_by_role("button", name="Stop")
        self.edit = self.place.get_by_role("button", name="Edit")
        self.status = self.place.get_by_role("status")
        self.help = self.place.locator(".run-help")
        self.output = self.place.locator(".run-output")

    def wait(self, within_ms: int = STARTS_WITHIN_MS) -> str:
        """Until it has ended; returns what it says of its end."""
        api.expect(self.status).to_have_text(ENDED, timeout=within_ms)
        return self.status.inner_text()

    def written(self, *streams: str) -> str:
        """What it wrote to the streams, or all that is shown."""
        kinds = ", ".join(f".run-{stream}" for stream in streams)
        return "".join(self.output.locator(kinds).all_text_contents())


@pytest.fixture(scope="module")
def reader(chromium: Browser, address: str) -> Iterator[Page]:
    """A page that stays for all tests of this file, so that files come from the cache; it may ask nobody else."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    outside: list[str] = []
    page = context.new_page()
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((address, "data:", "blob:")) else outside.append(request.url)
        ),
    )
    page.goto(address)
    yield page
    context.close()
    assert outside == []


SHOW = """async (address) => {
  const text = await (await fetch(address)).text();
  const other = new DOMParser().parseFromString(text, "text/html");
  document.querySelector("article").replaceWith(other.querySelector("article"));
  document$.next(document);
}"""


def show(reader: Page, address: str) -> None:
    """Show another page without a load, as the theme can do it: the Python of the examples stays."""
    reader.evaluate(SHOW, address)


@pytest.mark.parametrize("page", PAGES, ids=[page.path.stem for page in PAGES])
def test_each_example_writes_what_the_page_shows(reader: Page, address: str, page: GuidePage) -> None:
    """Every Run button of the page is pressed, and one after the other in the same Python."""
    show(reader, f"{address}{path_of(page)}")
    fences = runnable(page)
    api.expect(reader.locator(".run-here")).to_have_count(len(fences))

    for number, fence in enumerate(fences):
        example = Example(reader, number)
        example.run.click()
        says = example.wait()
        shown = page.output_of(fence)
        expected = "" if shown is None else shown.content
        raises = (fence.key("raises") or "").partition(":")[0]
        error = example.written("error")
        # What a logger writes to stderr is in the log of the tests, and not in the output of the block.
        written = [example.written("stdout"), example.written("stdout", "stderr")]
        where = f"{page.path}:{fence.line}"
        assert any(matches(expected, text) for text in written), (
            f"{where}\n{difference(expected, written[1])}{error}"
        )
        assert says.startswith("Raised" if raises else "Finished"), f"{where}\n{error}"
        assert raises in error, where
        assert bool(fence.shape is not None) == example.place.locator("svg.timeline").is_visible(), where


def test_nothing_of_python_comes_before_the_first_click(
    page: Page, address: str, sent: dict[str, int]
) -> None:
    """Neither Python nor the editor."""
    sent.clear()
    page.goto(f"{address}anti-patterns/blocking-calls/", wait_until="networkidle")

    assert [path for path in sent if "/vendor/" in path or path.endswith("/worker.mjs")] == []


def replace_in_editor(page: Page, old: str, new: str) -> None:
    """Type over what the open editor holds."""
    editor = page.locator(".cm-content").last
    api.expect(editor).to_be_focused()
    text = "\n".join(editor.locator(".cm-line").all_text_contents())
    assert old in text
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text.replace(old, new))


def type_into(page: Page, example: Example, code: str) -> None:
    """Replace the whole of an example."""
    example.edit.click()
    api.expect(page.locator(".cm-content").last).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)


def ran(page: Page, address: str, code: str) -> Example:
    """An example that has been replaced by *code* and has ended."""
    show(page, f"{address}anti-patterns/dropped-tasks/")
    example = Example(page, 0)
    type_into(page, example, code)
    example.run.click()
    example.wait()
    return example


def test_an_edited_example_runs_as_it_is(reader: Page, address: str) -> None:
    """And Reset brings back what was there."""
    show(reader, f"{address}anti-patterns/blocking-calls/")
    example = Example(reader, 0)
    example.edit.click()
    replace_in_editor(reader, "ticks in half a second", "edited")
    reader.keyboard.press("Control+Enter")
    example.wait()
    edited = example.written("stdout")
    example.place.get_by_role("button", name="Reset").click()
    example.run.click()
    example.wait()

    assert edited == "0 edited\n"
    assert example.written("stdout") == "0 ticks in half a second\n"


def test_an_edited_listing_changes_what_the_example_does(reader: Page, address: str) -> None:
    """The listing of the anti-pattern, mended by the reader: the ticker gets its turns, and the timeline has no stall."""
    show(reader, f"{address}anti-patterns/blocking-calls/")
    example = Example(reader, 0)
    reader.get_by_role("button", name="Edit blocking_handler.py").click()
    mended = """\
import asyncio
import sys


async def handler() -> bytes:
    program = "import time; time.sleep(0.5); print('done')"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[0].strip()
"""
    reader.locator(".cm-content").focus()
    reader.keyboard.press("Control+a")
    reader.keyboard.insert_text(mended)
    example.run.click()
    example.wait()

    ticks = int(example.written("stdout").split()[0])
    assert ticks > 5
    assert "Nothing held the loop" in example.place.locator("figcaption").inner_text()
    assert "1 simulated process" in example.status.inner_text()


def test_a_listing_says_what_its_example_did(reader: Page, address: str) -> None:
    """Where the reader is who pressed Control and Enter in it: the example may be out of sight."""
    show(reader, f"{address}anti-patterns/blocking-calls/")
    reader.get_by_role("button", name="Edit blocking_handler.py").click()
    replace_in_editor(reader, "0.5", "0.2")
    reader.keyboard.press("Control+Enter")
    bar = reader.locator(".highlight:has(.cm-editor) + .run-bar")

    api.expect(bar.get_by_role("status")).to_have_text(
        re.compile("^Below: Finished after"), timeout=STARTS_WITHIN_MS
    )


HELP = "Ctrl+Enter runs it. Escape, then Tab leaves the editor."
CODE_OF_LINK = "From the link, and not from this page."
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"


@pytest.mark.parametrize("clipboard", [True, False], ids=["clipboard", "no clipboard"])
def test_a_link_carries_the_changes(page: Page, address: str, clipboard: bool) -> None:
    """Of the listing and of the example. It is run by nobody but the reader, and Reset brings back the page's own."""
    if clipboard:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    else:
        page.add_init_script(NO_CLIPBOARD)
    page.goto(f"{address}anti-patterns/blocking-calls/")
    page.get_by_role("button", name="Edit blocking_handler.py").click()
    replace_in_editor(page, "0.5", "0.2")
    example = Example(page, 0)
    example.edit.click()
    replace_in_editor(page, "ticks in half a second", "ticks \N{SNOWMAN}")
    example.place.get_by_role("button", name="Copy link").click()
    api.expect(example.help).to_have_text(
        "Copied: a link to this page with your changes."
        if clipboard
        else "The address above is now a link to this page with your changes."
    )
    link = page.evaluate("navigator.clipboard.readText()") if clipboard else page.url

    other = page.context.new_page()
    other.goto(link)
    linked = Example(other, 0)
    api.expect(other.locator(".cm-content")).to_have_count(2)
    api.expect(linked.help).to_have_text(CODE_OF_LINK)
    api.expect(linked.output).to_be_hidden()
    api.expect(other.locator(".cm-content").first).to_contain_text("time.sleep(0.2)")
    linked.run.click()
    linked.wait()
    assert linked.written("stdout") == "0 ticks \N{SNOWMAN}\n"

    linked.place.get_by_role("button", name="Reset").click()
    api.expect(linked.help).to_have_text(HELP)
    linked.run.click()
    linked.wait(RUNS_WITHIN_MS)
    assert linked.written("stdout") == "0 ticks in half a second\n"
    assert "#edited=" in other.url
    other.get_by_role("button", name="Reset blocking_handler.py").click()
    assert "#edited=" not in other.url


GO_TO_LINKS = """async (all) => {
  const script = document.querySelector("script[src*='javascripts/run.mjs']").src;
  const { linkWith } = await import(new URL("edited_link.mjs", script));
  const links = await Promise.all(all.map(linkWith));
  for (const link of links) {
    const arrived = new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
    location.href = link;
    await arrived;
  }
}"""


def go_to_links(page: Page, *links: dict[str, str]) -> None:
    """As a reader who pastes them into the address of the open page, one right after the other."""
    page.evaluate(GO_TO_LINKS, [list(texts.items()) for texts in links])


# The theme writes the section that is in view into the address, a quarter of a second after the last scroll. It leaves out
# the first after a load and after a change of the part behind "#", so one scroll may be none to it.
SCROLLED = """() => new Promise((resolve, reject) => {
  const { replaceState } = history;
  let down = false;
  const scroll = () => scrollTo(0, (down = !down) ? document.body.scrollHeight : 0);
  const scrolling = setInterval(scroll, 600);
  const tooLate = setTimeout(() => end(reject, new Error("the theme has written no address in 30 s")), 30_000);
  const end = (settle, value) => {
    clearInterval(scrolling);
    clearTimeout(tooLate);
    history.replaceState = replaceState;
    settle(value);
  };
  history.replaceState = (...given) => {
    replaceState.apply(history, given);
    end(resolve);
  };
})"""


def test_a_link_stays_in_the_address_while_the_reader_scrolls(page: Page, address: str) -> None:
    """Or it would be lost for a bookmark, and for who loads the page again."""
    page.goto(f"{address}anti-patterns/nested-run/")
    api.expect(Example(page, 0).run).to_be_visible()
    go_to_links(page, {str(runnable(page_at("anti-patterns/nested-run"))[0].id): "print('mine')"})
    api.expect(Example(page, 0).help).to_have_text(CODE_OF_LINK)
    page.evaluate(SCROLLED)

    assert "#edited=" in page.url


def test_a_second_link_is_not_mixed_with_the_first(page: Page, address: str) -> None:
    """What its sender has not changed is as on the page, and each block has one editor."""
    page.goto(f"{address}anti-patterns/dropped-tasks/")
    example = Example(page, 0)
    api.expect(example.run).to_be_visible()
    first, second, *_ = (fence.id for fence in runnable(page_at("anti-patterns/dropped-tasks")))
    one = {str(second): "print('first link')", str(first): "print('old')"}
    go_to_links(page, one, {str(first): "print('second link')"})
    api.expect(example.help).to_have_text(CODE_OF_LINK)
    api.expect(page.locator(".cm-content").first).to_contain_text("second link")

    api.expect(page.locator(".cm-content")).to_have_count(2)
    assert "first link" not in page.locator(".cm-content").last.inner_text()
    assert Example(page, 1).help.inner_text() == HELP


def test_code_of_a_link_that_cannot_be_shown_does_not_run(page: Page, address: str) -> None:
    """Without an editor the page's own code stays, which is what the reader sees."""
    page.route("**/editor.mjs*", lambda route: route.abort())
    page.goto(f"{address}anti-patterns/nested-run/")
    example = Example(page, 0)
    api.expect(example.run).to_be_visible()
    go_to_links(page, {str(runnable(page_at("anti-patterns/nested-run"))[0].id): "print('unseen')"})
    api.expect(example.help).to_have_text("The editor could not be loaded from this site.")
    example.run.click()
    example.wait()

    assert "unseen" not in example.written("stdout")


FORGED = """
import json

import js

svg = "<svg xmlns='http://www.w3.org/2000/svg'>INSIDE</svg>"
answer = {"kind": "ended", "error": "", "summary": "forged", "svg": svg, "notes": [], "processes": 0, "seconds": 0}
js.postMessage(js.JSON.parse(json.dumps(answer)))
"""


@pytest.mark.parametrize(
    "inside",
    ["<script>document.title = 1</script>", "<text onclick='1'>x</text>", "<foreignObject/>", "<img src='x'"],
)
def test_nothing_but_a_drawing_gets_into_the_page(reader: Page, address: str, inside: str) -> None:
    """Code of a link can send the page what it likes."""
    show(reader, f"{address}anti-patterns/dropped-tasks/")
    example = Example(reader, 0)
    type_into(reader, example, FORGED.replace("INSIDE", inside))
    example.run.click()
    example.wait()

    assert "after 0.00 s" in example.status.inner_text()
    assert example.place.locator("figure svg").count() == 0
    reader.reload()  # the Python that forged its end is still at work


@pytest.mark.parametrize(
    ("fragment", "says"),
    [
        ("#edited=q1ZKy", "The code of this link cannot be read: it may have been cut."),
        ("#edited=%%%", "The code of this link cannot be read: it may have been cut."),
        # [["gone","1"]]
        ("#edited=i45WSs_PS1XSUTJUio0FAA", "The code of this link belongs to an example that is no longer on"),
    ],
    ids=["cut", "made up", "of an example that has gone"],
)
def test_a_link_without_code_for_the_page_says_so(
    page: Page, address: str, fragment: str, says: str
) -> None:
    """At the first example, also where the link is pasted into the address of the open page; and the example runs."""
    page.goto(f"{address}anti-patterns/dropped-tasks/")
    example = Example(page, 0)
    api.expect(example.run).to_be_visible()
    page.evaluate("fragment => { location.hash = fragment }", fragment)

    api.expect(example.help).to_contain_text(says)
    api.expect(example.place).to_be_in_viewport()
    assert page.locator(".cm-content").count() == 0
    page.evaluate("location.hash = ''")
    api.expect(example.help).to_have_text("")


def test_copy_takes_what_the_editor_holds(page: Page, address: str) -> None:
    """The button of the theme stays with the page's own text, which is hidden."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{address}anti-patterns/dropped-tasks/")
    example = Example(page, 0)
    type_into(page, example, "print('mine')\n")
    example.place.get_by_role("button", name="Copy example 1").click()
    api.expect(example.help).to_have_text("Copied.")

    assert page.evaluate("navigator.clipboard.readText()") == "print('mine')\n"
    example.place.get_by_role("button", name="Reset").click()
    example.place.get_by_role("button", name="Copy link").click()
    api.expect(example.help).to_have_text("Copied: a link to this page; nothing was changed.")
    assert page.evaluate("navigator.clipboard.readText()") == f"{address}anti-patterns/dropped-tasks/"


def test_stop_ends_a_loop_that_never_waits(reader: Page, address: str) -> None:
    """The page stays alive meanwhile, and the next Run works."""
    show(reader, f"{address}anti-patterns/tight-loops/")
    example = Example(reader, 0)
    example.run.click()
    example.wait()
    example.edit.click()
    replace_in_editor(reader, "lines_for(0.2)", 'iter(lambda: "a line", None)')
    example.run.click()
    api.expect(example.status).to_have_text("Running…")
    assert reader.evaluate("1 + 1") == 2
    example.stop.click()
    api.expect(example.status).to_have_text("Stopped.", timeout=3_000)

    example.place.get_by_role("button", name="Reset").click()
    example.run.click()
    example.wait(RUNS_WITHIN_MS)
    assert example.written("stdout") == "0 ticks in 0.2 s\n"


def test_the_run_after_stop_has_a_python_at_once(reader: Page, address: str) -> None:
    """A second one was made while the first one worked, and takes over."""
    show(reader, f"{address}anti-patterns/tight-loops/")
    example = Example(reader, 0)
    example.run.click()
    example.wait()
    if len(reader.workers) < 2:
        reader.wait_for_event("worker")
    type_into(reader, example, "while True: pass\n")
    example.run.click()
    api.expect(example.status).to_have_text("Still running, without output. Stop ends it.", timeout=15_000)
    example.stop.click()
    example.place.get_by_role("button", name="Reset").click()
    made: list[object] = []
    reader.on("worker", lambda worker: made.append(worker))
    example.run.click()
    api.expect(example.status).to_have_text(re.compile("Running|Loading|Finished"))

    assert made == []
    example.wait()


def test_one_example_runs_at_a_time(reader: Page, address: str) -> None:
    """The other one says so, and no longer than it is true."""
    show(reader, f"{address}anti-patterns/dropped-tasks/")
    first, second = Example(reader, 0), Example(reader, 1)
    first.run.click()
    first.wait()
    type_into(reader, first, "import asyncio\n\nawait asyncio.sleep(1.5)\n")
    first.run.click()
    second.run.click()
    api.expect(second.status).to_have_text("Another example is running: stop it first.")
    first.wait()

    assert second.status.inner_text() == ""


def test_an_example_ends_with_its_page(reader: Page, address: str) -> None:
    """What runs for ever on a page that was left does not keep the next one from running."""
    show(reader, f"{address}anti-patterns/dropped-tasks/")
    left = Example(reader, 0)
    type_into(reader, left, "while True: pass\n")
    left.run.click()
    show(reader, f"{address}anti-patterns/swallowing-exceptions/")
    example = Example(reader, 0)
    example.run.click()

    assert example.wait().startswith("Finished")


@pytest.mark.parametrize(
    ("code", "most"),
    [("for i in range(100_000): print(i)\n", 200_100), ("print('x' * 300_000); print('end')\n", 200_100)],
    ids=["many lines", "a long line"],
)
def test_a_flood_of_output_is_cut(reader: Page, address: str, code: str, most: int) -> None:
    """And says so; what came first is shown."""
    shown = ran(reader, address, code).written("stdout", "note")

    assert "(more output is left out)" in shown
    assert 100_000 < len(shown) < most


def test_what_was_written_is_shown_before_a_sleep(reader: Page, address: str) -> None:
    """Also after so many lines that they come in bundles."""
    show(reader, f"{address}anti-patterns/dropped-tasks/")
    example = Example(reader, 0)
    type_into(reader, example, "import time\nfor i in range(2_500): print(i)\ntime.sleep(60)\n")
    example.run.click()
    api.expect(example.output).to_contain_text("\n2499\n", timeout=STARTS_WITHIN_MS)
    example.stop.click()

    assert example.status.inner_text() == "Stopped."


@pytest.mark.parametrize("file", ["pyodide.asm.wasm", "python.zip", "worker.mjs"])
def test_a_python_that_cannot_be_loaded_is_said(page: Page, address: str, file: str) -> None:
    """And the next Run tries anew."""
    page.route(f"**/{file}", lambda route: route.abort())
    page.goto(f"{address}anti-patterns/nested-run/")
    example = Example(page, 0)
    example.run.click()
    api.expect(example.output).to_contain_text("Python could not be loaded from this site", timeout=30_000)

    page.unroute(f"**/{file}")
    example.run.click()
    assert example.wait()


def test_keys_alone_run_an_example_and_leave_the_editor(reader: Page, address: str) -> None:
    """Tab reaches Run and Edit, Control and Enter runs, Escape and then Tab goes on in the page."""
    show(reader, f"{address}anti-patterns/swallowing-exceptions/")
    example = Example(reader, 0)
    reader.evaluate(
        "document.querySelector('.run-here').previousElementSibling.setAttribute('tabindex', '-1')"
    )
    reader.evaluate("document.querySelector('.run-here').previousElementSibling.focus()")
    reader.keyboard.press("Tab")
    for _ in range(5):
        if reader.evaluate("document.activeElement.classList.contains('run-first')"):
            break
        reader.keyboard.press("Tab")
    reader.keyboard.press("Enter")
    example.wait()
    api.expect(example.run).to_be_focused()
    reader.keyboard.press("Tab")
    reader.keyboard.press("Enter")
    api.expect(reader.locator(".cm-content")).to_be_focused()
    reader.keyboard.press("Tab")
    api.expect(reader.locator(".cm-content")).to_be_focused()
    reader.keyboard.press("Control+z")
    reader.keyboard.press("Control+Enter")
    example.wait()
    reader.keyboard.press("Escape")
    reader.keyboard.press("Tab")

    assert not reader.evaluate("document.activeElement.classList.contains('cm-content')")
    assert reader.evaluate("document.activeElement !== document.body")


def test_a_deadlock_is_named(reader: Page, address: str) -> None:
    """Where a program on a computer would hang, the example says who waits."""
    example = ran(reader, address, "import asyncio\n\nawait asyncio.Event().wait()\n")

    assert example.status.inner_text().startswith("Raised")
    assert "Deadlock" in example.written("error")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import asyncio\n\nawait asyncio.to_thread(print)\n", "There are no threads in a browser."),
        ("input()\n", "There is no terminal in a browser"),
        ("import uvicorn\n", "There is no uvicorn in this browser"),
        ("import asyncio\n\nasyncio.get_event_loop()\n", "There is no current event loop"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 1))\n", "There is no network in a browser"),
        (
            "import asyncio\n\nawait asyncio.open_connection('127.0.0.1', 1)\n",
            "There is no network in a browser",
        ),
    ],
    ids=["thread", "input", "module", "loop", "socket", "stream"],
)
def test_what_a_browser_does_not_have_is_named(reader: Page, address: str, code: str, says: str) -> None:
    """Where Python itself says "can't start new thread" and "I/O error"."""
    example = ran(reader, address, code)

    assert example.status.inner_text().startswith("Raised")
    assert says in example.written("error", "note")


def test_an_example_that_was_edited_and_run_has_no_fault(reader: Page, address: str) -> None:
    """With both editors open, the output and the timeline there, in each scheme and width."""
    if MAY_LACK_ASSETS and not AXE.is_file():
        pytest.skip("axe-core is not installed")
    reader.goto(f"{address}anti-patterns/blocking-calls/")
    example = Example(reader, 0)
    reader.get_by_role("button", name="Edit blocking_handler.py").click()
    api.expect(reader.locator(".cm-content")).to_be_focused()
    example.edit.click()
    api.expect(reader.locator(".cm-content")).to_have_count(2)
    example.run.click()
    example.wait()

    assert faults(reader, AXE.read_text("utf-8")) == []
