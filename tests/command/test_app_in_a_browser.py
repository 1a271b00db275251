"""The app in a real browser, before a real TorchServe: an input in, an answer's page out, and nothing goes outside."""

from collections.abc import Iterator

import httpx
import pytest
from intgrads.serving.torchserve import TorchServe, free_ports
from playwright.sync_api import Page
from shared.browser import chromium
from shared.commands import intgrads, running
from shared.faults import wait_until
from shared.places import EXAMPLES

pytestmark = pytest.mark.server

ANSWER = "iframe[title='the answer']"


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def app(torchserve: TorchServe) -> Iterator[str]:
    """Run the app for the demo's archives, and yield its URL."""
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    with running("app", "--server", torchserve.url, "--port", str(port)) as process:
        wait_until(lambda: answers(url) or process.poll() is not None, "the app answers", 120)
        assert process.poll() is None
        yield url


@pytest.fixture
def page(app: str) -> Iterator[Page]:
    """Open the app; whatever is done there, nothing is asked of anybody else."""
    with chromium() as browser:
        opened = browser.new_page()
        outside: list[str] = []
        opened.on("request", lambda request: outside.append(request.url))
        opened.goto(app)
        yield opened
        assert not [url for url in outside if not url.startswith((app, "data:", "blob:", "about:"))]


def choose(page: Page, network: str) -> None:
    page.get_by_label("Network", exact=True).click()
    page.get_by_role("option", name=network, exact=True).click()


def test_nothing_is_set_once_the_page_is_there(app: str) -> None:
    """Else a picture that is dropped at once would be taken away again."""
    config = httpx.get(f"{app}/config", timeout=10).json()
    shown = {one["props"].get("label"): one["props"].get("visible") for one in config["components"]}
    assert (shown["Picture"], shown["Text"]) == (True, False)
    events = [event for one in config["dependencies"] for _, event in one["targets"]]
    assert "change" in events
    assert "load" not in events


def test_a_picture_is_explained(page: Page) -> None:
    page.locator("input[type=file]").first.set_input_files(EXAMPLES / "cat.jpg")
    page.get_by_role("button", name="Remove Image").or_(page.get_by_label("Remove")).first.wait_for()
    page.get_by_role("button", name="Explain").click()
    answer = page.frame_locator(ANSWER)
    answer.locator(".panel canvas").wait_for(timeout=120_000)
    assert "tiger cat" in answer.locator(".headline").inner_text()
    assert answer.locator(".ticks span").count() == 5
    assert page.get_by_text("intgrads-").first.is_visible()  # the file to take away


def test_a_text_is_explained_and_an_empty_one_is_told(page: Page) -> None:
    choose(page, "text")
    page.get_by_role("button", name="Explain").click()
    page.get_by_label("There is no answer").wait_for()
    assert page.get_by_label("There is no answer").input_value() == "type a text first"
    page.get_by_label("Text", exact=True).fill("The camera is not good.")
    page.get_by_role("button", name="Explain").click()
    answer = page.frame_locator(ANSWER)
    answer.locator(".text .words").first.wait_for(timeout=120_000)
    assert "negative" in answer.locator(".headline").inner_text()
    assert not page.get_by_label("There is no answer").is_visible()


def test_an_archive_that_is_not_there_is_told_before_anything_is_opened(torchserve: TorchServe) -> None:
    missing = intgrads("app", "--server", torchserve.url, "--name", "intgrads", "--name", "nobody")
    assert missing.returncode == 1
    assert "nobody" in missing.stderr


def test_no_server_is_told() -> None:
    alone = intgrads("app", "--server", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert alone.returncode == 1
    assert "no server" in alone.stderr
    assert "Traceback" not in alone.stderr
