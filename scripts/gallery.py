"""Make the pictures of README and docs from real answers: ``python scripts/gallery.py [NAME…]``.

Networks are those that the repository has weights for, or a package does (the extras ``demo`` and ``tensormask``).
Pages are opened in Chromium, at /usr/bin/chromium or where CHROMIUM says.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from intgrads.archives import archiver
from intgrads.archives.archive import write_archive
from intgrads.call import Call
from intgrads.networks import bit
from intgrads.networks.family import Order
from intgrads.service import Service
from intgrads.settings import Settings
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from skimage.data import coffee

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "training"))
from bit_digits import ARCHITECTURE, WEIGHTS, digits  # noqa: E402

IMAGES = ROOT / "docs" / "images"
WORK = TemporaryDirectory(prefix="intgrads-gallery-")

SHAPES = ["--tensormask", "shapes.safetensors", "--tensormask-config", "shapes.yaml", "--labels", "shapes.labels.txt"]
TREE = (
    "(S (NP (DT The) (NN camera)) (PP (IN of) (NP (DT this) (NN phone))) (VP (VBZ is) (RB not) (ADJP (JJ good))) (. .))"
)
SENTENCE = "The camera of this phone is not good."


@cache
def service(name: str) -> Service[Any]:
    """Return a loaded archive."""
    folder = Path(WORK.name) / name
    if name == "digits":
        bit.ARCHITECTURES["bit-digits"] = ARCHITECTURE
        folder.mkdir()
        write_archive(Order("bit-digits", WEIGHTS, [str(i) for i in range(10)], Settings()), folder)
        return Service.load(folder, torch.device("cpu"))
    orders = {"shapes": ["tensormask", *(str(ROOT / "training" / word) if "." in word else word for word in SHAPES)]}
    if archiver.main([*orders.get(name, [name]), "--name", name], Path(WORK.name)):
        raise SystemExit(f"{name} could not be archived")
    with zipfile.ZipFile(Path(WORK.name) / f"{name}.mar") as archive:
        archive.extractall(folder)
    return Service.load(folder, torch.device("cpu"))


def ask(name: str, body: bytes | str, **fields: str) -> bytes:
    """Return the body of an answer."""
    form: dict[str, bytes | str] = {"data" if isinstance(body, bytes) else "sequence": body, **fields}
    (reply,) = service(name).answer([Call(form=form, content_type="multipart/form-data")])
    answer = b"".join(reply.body)
    if reply.status != 200:
        raise SystemExit(answer.decode())
    return answer


def example(name: str) -> bytes:
    """Return one of the repository's examples."""
    return (ROOT / "examples" / name).read_bytes()


def png(pixels: Any) -> bytes:
    """Return pixels as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def drawn(name: str, body: Callable[[], bytes], **fields: str) -> Callable[[Page], bytes]:
    """Return what asks for a picture as it is served."""
    return lambda _: ask(name, body(), format="png", **fields)


def shown(
    name: str,
    body: Callable[[], bytes | str],
    parts: str,
    then: Callable[[Page], object] = lambda _: None,
    **fields: str,
) -> Callable[[Page], bytes]:
    """Return what opens a page, does something there, and takes a picture of some of its parts."""

    def take(page: Page) -> bytes:
        place = Path(WORK.name) / "page.html"
        place.write_bytes(ask(name, body(), format="html", **fields))
        page.goto(place.as_uri())
        then(page)
        # Only these parts, one below the other.
        page.evaluate(
            "parts => { for (const part of document.querySelectorAll('header, article > *'))"
            " if (!part.matches(parts)) part.style.display = 'none'; document.body.style.width = 'max-content' }",
            parts,
        )
        return page.locator("main").screenshot(type="jpeg", quality=85)

    return take


def at(alpha: int) -> Callable[[Page], object]:
    """Return what moves the slider of the path to a node."""
    return lambda page: page.locator("[name=alpha]").fill(str(alpha))


GALLERY: dict[str, Callable[[Page], bytes]] = {
    "heatmap.png": drawn("demo-image", lambda: example("cat.jpg"), tolerance="0.05"),
    "signed.png": drawn("demo-image", lambda: example("cat.jpg"), tolerance="0.02", style="overlay"),
    "groups.png": drawn("demo-image", lambda: example("cat.jpg"), tolerance="0.05", groups="superpixels"),
    "shapes.masks.png": drawn("shapes", lambda: example("shapes.png")),
    "shapes.heatmap.png": drawn("shapes", lambda: example("shapes.png"), target_instance="0", segment="false"),
    "page.cat.jpg": shown(
        "demo-image", lambda: example("cat.jpg"), ".headline, .picture, .path", at(12), tolerance="0.02"
    ),
    "page.against.jpg": shown(
        "demo-image",
        lambda: example("cat.jpg"),
        ".headline, .picture",
        target_class="Egyptian cat",
        against="tabby",
        tolerance="0.05",
    ),
    "page.coffee.jpg": shown(
        "demo-image",
        lambda: png(coffee()),
        ".headline, .picture, .groups",
        lambda page: page.locator(".ranking tbody tr").first.hover(),
        target_class='["espresso", "cup"]',
        tolerance="0.05",
        groups="superpixels",
    ),
    "page.shapes.jpg": shown(
        "shapes",
        lambda: example("shapes.png"),
        ".objects",
        lambda page: page.locator("tr[data-object='0'] button").click(),
    ),
    "page.sentence.jpg": shown("demo-text", lambda: SENTENCE, ".headline, .text, .groups", groups=TREE),
    "page.cliff.jpg": shown(
        "digits", lambda: png(digits()[1][0].astype(np.uint8)), ".path", at(20), baseline="zero", tolerance="0.05"
    ),
}


def main(names: list[str]) -> None:
    """Make all pictures, or those that are named."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 960, "height": 700})
        for name in names or GALLERY:
            (IMAGES / name).write_bytes(GALLERY[name](page))
            print(f"docs/images/{name}", flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
