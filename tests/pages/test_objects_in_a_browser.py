"""The objects of a picture on its page: each is shown or not, and says what to ask for its attribution."""

from pathlib import Path

import numpy as np
import pytest
from intgrads.answers.answer import answer
from intgrads.call import Reply
from intgrads.detections.request import DetectionRequest
from intgrads.formats.encodings import encode
from intgrads.pictures.decoding import Picture
from intgrads.pictures.objects import Objects
from intgrads.pictures.request import ImageRequest
from intgrads.pictures.shown import ShownPicture
from intgrads.pictures.transform import PictureSpec
from intgrads.subject import Subject
from playwright.sync_api import Browser
from shared.browser import opened
from shared.toys import pixels

EVIL = "<b onclick=alert(1)>ring"


def page_of(kind: type[ImageRequest], *labels: str) -> Reply:
    """Return the page of a picture of 40 × 60 with objects side by side, nothing of it attributed."""
    masks = np.zeros((len(labels), 40, 60), bool)
    for k in range(len(labels)):
        masks[k, 5:35, 20 * k + 2 : 20 * k + 18] = True
    boxes = np.array([[20 * k + 2, 5, 20 * k + 18, 35] for k in range(len(labels))], np.float32).reshape(-1, 4)
    classes, scores = np.zeros(len(labels), np.int64), np.linspace(0.9, 0.6, len(labels), dtype=np.float32)
    found = Objects(masks, boxes, scores, classes, list(labels), 0.5)
    request = kind.model_validate({"n_steps": 5, "method": "gausslegendre", "max_evaluations": 500, "format": "html"})
    picture = Picture(pixels(40, 60), ())
    shown = ShownPicture(request, picture, PictureSpec(40, 60).view((40, 60)), found, None)
    content_type, body = encode([answer("toy", request, Subject(None, shown), [])], False, "html")
    return Reply(200, content_type, body)


@pytest.mark.parametrize(
    ("kind", "asked"), [(DetectionRequest, "target_instance=1"), (ImageRequest, "groups=segments")]
)
def test_a_click_says_what_to_ask(browser: Browser, tmp_path: Path, kind: type[ImageRequest], asked: str) -> None:
    with opened(browser, tmp_path, page_of(kind, "disc", EVIL, "star")) as page:
        box = page.locator(".objects .stage").bounding_box() or {"width": 0.0, "height": 0.0}
        page.locator(".objects .stage svg").click(position={"x": box["width"] * 0.5, "y": box["height"] / 2})
        said = page.locator(".ask").inner_text()
        assert f"1 {EVIL}" in said
        assert f"-F {asked}" in said
        assert page.locator("tr.lit").get_attribute("data-object") == "1"
        page.locator("tr[data-object='2'] button").press("Enter")
        assert "2 star" in page.locator(".ask").inner_text()


def test_objects_are_shown_and_hidden(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, page_of(DetectionRequest, "disc", "star")) as page:
        disc = page.locator("path.object[data-object='0']")
        assert disc.is_visible()
        page.locator("tr[data-object='0'] input").uncheck()
        assert not disc.is_visible()
        assert page.locator("path.object[data-object='1']").is_visible()
        page.locator("tr[data-object='0'] input").check()
        assert disc.is_visible()


def test_a_page_without_objects_says_so(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, page_of(DetectionRequest)) as page:
        assert "no object was found with a probability over 0.5" in page.locator(".objects").inner_text()
