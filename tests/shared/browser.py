"""A real browser, headless, that opens pages from files: Debian's Chromium, or whichever CHROMIUM names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from intgrads.call import Reply
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser; a test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; install it, or say where it is by CHROMIUM")
    with sync_playwright() as playwright:
        # In a container it has no right to a sandbox of its own; the pages are ours.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, folder: Path, reply: Reply, scheme: str = "light") -> Iterator[Page]:
    """Open the page of a reply; it must ask for nothing outside, and tell of no error, whatever is done with it."""
    file = folder / "page.html"
    file.write_bytes(b"".join(reply.body))
    context = browser.new_context(color_scheme=scheme, accept_downloads=True)  # type: ignore[arg-type]
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    page.goto(file.as_uri())
    try:
        yield page
        assert not wrong
    finally:
        context.close()
