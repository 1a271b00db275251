"""What tests of pages share: a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from shared.browser import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one browser for a file: while it is open, nothing else here can run an event loop."""
    with chromium() as browser:
        yield browser
