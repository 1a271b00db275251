"""What tests of pages share: one browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from shared.browser import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run one browser for all of them."""
    with chromium() as browser:
        yield browser
