"""The built site, served on this machine, and a headless Chromium that looks at it."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

SITE = Path(__file__).parents[2] / "site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A line for each picture would hide what the tests say."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the built site is served, with a slash at the end."""
    if not (SITE / "index.html").is_file():
        pytest.skip(f"there is no built site in {SITE.name}: python3 noxfile.py -s browser builds it")
    handler = functools.partial(_Handler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A browser that is on this machine: none is downloaded."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is on PATH")
    # As root, in most containers, Chromium cannot make a sandbox.
    arguments = ["--no-sandbox"] if hasattr(os, "getuid") and os.getuid() == 0 else []
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def foreign() -> list[str]:
    """Addresses on other hosts that a page of the test has asked for."""
    return []


@pytest.fixture
def page(chromium: Browser, address: str, foreign: list[str]) -> Iterator[Page]:
    """A new page without a past; it may ask the site and nobody else."""
    context = chromium.new_context()

    def look(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    context.route("**/*", look)
    yield context.new_page()
    context.close()
