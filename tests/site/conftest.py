"""The built site, served on this machine, and a headless Chromium that looks at it."""

from __future__ import annotations

import functools
import gzip
import http.server
import io
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

SITE = Path(os.environ.get("OFFLOOP_BUILT_SITE") or Path(__file__).parents[2] / "site")
"""Where `build_site` of the noxfile leaves it, or the folder that the variable names."""

SITE_URL = re.findall(
    r"^site_url: (\S+)$", (Path(__file__).parents[2] / "mkdocs.yml").read_text("utf-8"), re.MULTILINE
)[0]
"""Where readers find it. It is served below the same path, on which the page for a missing address depends."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


MAY_LACK_ASSETS = shutil.which("npm") is None
"""Whether the site may be without its Run buttons and players. With Node, what could not be installed is a failure."""

TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript",
    ".py": "text/x-python; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".xml": "application/xml",
}
"""What any static host compresses, by its right name: what Python guesses depends on the machine."""


@functools.cache
def compressed(file: Path) -> bytes:
    """As a static host sends it. The built site does not change while the tests look at it."""
    return gzip.compress(file.read_bytes(), mtime=0)


_sent: dict[str, int] = {}


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many files, as any static host does it
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, **TYPES}  # noqa: RUF012

    def translate_path(self, path: str) -> str:
        root = urlsplit(SITE_URL).path
        return super().translate_path("/" + path.removeprefix(root) if path.startswith(root) else "/outside")

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        file = Path(self.translate_path(self.path))
        if file.is_dir() and not self.path.partition("?")[0].endswith("/"):
            return super().send_head()  # to the address with a slash
        if file.is_dir():
            file /= "index.html"
        code = 200
        if not file.is_file():
            file, code = SITE / "404.html", 404
        accepted = self.headers.get("Accept-Encoding", "")
        if "gzip" not in accepted or file.suffix not in TYPES:
            _sent[self.path] = file.stat().st_size
            return super().send_head()
        content = compressed(file)
        _sent[self.path] = len(content)
        self.send_response(code)
        self.send_header("Content-Type", TYPES[file.suffix])
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)

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
        yield f"http://127.0.0.1:{server.server_port}{urlsplit(SITE_URL).path}"
        server.shutdown()
        thread.join()


@pytest.fixture
def sent() -> dict[str, int]:
    """How many bytes the server has sent of each address, also to workers, which the browser does not tell."""
    return _sent


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
