"""The page as a file: small, of one script, and asking for nothing outside."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import intgrads.pages
import numpy as np
import torch
from intgrads.labels import Labels
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.transform import PictureSpec
from intgrads.service import Service
from intgrads.settings import Settings
from shared.html_pages import page_of
from shared.texts import bert_service
from shared.toys import call, encoded, json_call, pixels, small_network

HERE = Path(intgrads.pages.__file__).parent
SPEC = PictureSpec(224, 224)


def of_224() -> Service[ImageClassifier]:
    network = ImageClassifier(small_network().eval().requires_grad_(False), SPEC, Labels(["a", "b", "c"]))
    return Service("toy", network, Settings(threads=1), torch.device("cpu"))


def test_the_script_is_small_and_no_line_of_it_is_added_to() -> None:
    assert len((HERE / "page.js").read_text().splitlines()) < 500


def test_the_policy_names_the_style_and_the_script() -> None:
    shown = page_of(bert_service().answer([json_call(sequence="good film", n_steps=2, format="html")])[0])
    (policy,) = [attributes["content"] or "" for tag, attributes in shown.tags if "http-equiv" in attributes]
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", shown.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in shown.tags)


def test_a_page_takes_300_kb_beside_its_picture_and_map() -> None:
    body: dict[str, Any] = {
        "data": encoded(pixels(300, 400), "JPEG"),
        "n_steps": "50",
        "groups": "superpixels",
        "format": "html",
    }
    shown = page_of(of_224().answer([call(**body)])[0])
    (source,) = [attributes["src"] or "" for attributes in shown.of_class("source")]
    (answer,) = shown.answers
    beside = len(shown.source) - len(source) - len(answer["maps"][0]["attribution"]["int16"])
    assert beside - sum(len(one["d"] or "") for one in shown.of_class("group")) < 320_000
    assert len(source) < 300_000


def test_a_photo_of_12_megapixels_is_held_smaller_and_the_page_says_so() -> None:
    photo = np.zeros((3000, 4000, 3), np.uint8)
    shown = page_of(of_224().answer([call(data=encoded(photo, "JPEG"), n_steps="2", format="html")])[0])
    assert "the picture, 4000 × 3000; on this page 1024 × 768" in shown.text
    assert len(shown.source) < 500_000
