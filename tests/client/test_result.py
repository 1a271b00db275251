"""A result is drawn, shown in a notebook and in a browser, saved, and read again as it was."""

import json
import webbrowser
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from intgrads.client import Client, Result
from PIL import Image
from safetensors.numpy import save
from shared.texts import bert_service
from shared.toys import LABELS, encoded, pixels, small_service
from shared.transports import serving

PICTURE = encoded(pixels(13, 17))


@pytest.fixture(scope="module")
def transport() -> httpx.MockTransport:
    return serving(small_service())


def ask(transport: httpx.MockTransport, **options: Any) -> Result:
    with Client(transport=transport) as client:
        return client.attribute(PICTURE, **{"n_steps": 6, **options})


@pytest.fixture(scope="module")
def of_picture(transport: httpx.MockTransport) -> Result:
    return ask(transport)


@pytest.fixture(scope="module")
def of_text() -> Result:
    with Client(transport=serving(bert_service())) as client:
        return client.attribute(text="The camera isn't good $ and $ bad.", n_steps=6)


# ---------------------------------------------------------------------- files
def test_it_is_read_again_as_it_was_saved(of_picture: Result, tmp_path: Path) -> None:
    again = Result.read(of_picture.save(tmp_path / "cat.safetensors").read_bytes())
    assert again.info == of_picture.info
    assert again.arrays.keys() == of_picture.arrays.keys()
    for name, array in of_picture.arrays.items():
        assert (array.dtype, array.shape) == (again[name].dtype, again[name].shape), name
        np.testing.assert_array_equal(array, again[name])


def test_views_are_saved_as_they_look(of_picture: Result, tmp_path: Path) -> None:
    turned = Result({"a": np.arange(6).reshape(2, 3).T, "b": np.array([1.0, 2.0, 3.0, 4.0])[::2]}, of_picture.info)
    again = Result.read(turned.save(tmp_path / "turned.safetensors").read_bytes())
    np.testing.assert_array_equal(again["a"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(again["b"], [1, 3])


def test_a_page_and_a_drawing_are_saved(of_picture: Result, tmp_path: Path) -> None:
    page = of_picture.save(tmp_path / "cat.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert of_picture.prediction["label"] in page
    with Image.open(of_picture.save(str(tmp_path / "cat.png"))) as drawing:
        assert min(drawing.size) > 100


@pytest.mark.parametrize("name", ["cat", "cat.jpg", "cat.pt"])
def test_another_ending_is_refused(of_picture: Result, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"saved as \.safetensors, \.html, \.png"):
        of_picture.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no answer in safetensors"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "no answer in safetensors"),
        (save({"a": np.zeros(2)}), "has no `info`"),
        (save({"a": np.zeros(2)}, {"info": "[1]"}), "has no `info`"),
        (save({"a": np.zeros(2)}, {"info": "{"}), "no answer in safetensors"),
        (save({"0.a": np.zeros(2)}, {"0.info": "{}"}), "several texts; ask for `format` html"),
    ],
)
def test_what_is_no_answer_is_told(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Result.read(raw)


def test_numbers_that_numpy_has_not_are_told() -> None:
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    with pytest.raises(ValueError, match="no answer in safetensors"):
        Result.read(len(header).to_bytes(8, "little") + header + b"\0\0")


# ---------------------------------------------------------------------- drawings
def test_a_picture_is_drawn_in_signed_colours(of_picture: Result) -> None:
    (axes,) = of_picture.plot().axes
    (image,) = axes.images
    low, high = image.get_clim()
    assert -low == high > 0
    np.testing.assert_array_equal(image.get_array(), of_picture.attribution.sum(-3)[0])
    assert axes.get_title() == of_picture.target_label


def test_several_targets_are_drawn_side_by_side(transport: httpx.MockTransport) -> None:
    result = ask(transport, target_class=[0, 2], fields=["integrated_grads"])
    figure = result.plot()
    assert [axes.get_title() for axes in figure.axes] == [LABELS[0], LABELS[2]]
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), result.attribution[1].sum(-3)[0])


def test_a_texts_words_are_bars(of_text: Result) -> None:
    (axes,) = of_text.plot().axes
    assert [label.get_text().replace("\\", "") for label in axes.get_yticklabels()] == of_text.info["words"]
    ends = [bar.get_path().get_extents(bar.get_patch_transform()) for bar in axes.patches]
    np.testing.assert_allclose([end.x1 + end.x0 for end in ends], of_text["word_scores"].ravel())


def test_a_map_of_zeros_is_drawn(of_picture: Result) -> None:
    nothing = {"integrated_grads": np.zeros((1, 3, 4, 4), np.float32)}
    assert Result(nothing, of_picture.info)._repr_html_()


def test_without_an_attribution_there_is_nothing_to_draw(transport: httpx.MockTransport, tmp_path: Path) -> None:
    result = ask(transport, fields=["output"])
    with pytest.raises(ValueError, match="ask for it in `fields`"):
        result.plot()
    assert "<img" not in result._repr_html_()
    assert result.save(tmp_path / "figures.html").is_file()


# ---------------------------------------------------------------------- pages
def test_a_notebook_shows_the_drawing_the_figures_and_the_warnings(of_text: Result) -> None:
    shown = of_text._repr_html_()
    assert 'src="data:image/png;base64,' in shown
    assert "error of the map" in shown
    assert str(of_text.target_label) in shown
    assert repr(of_text).startswith("<Result of toy: prediction ")


def test_what_others_wrote_is_text_in_a_page(of_picture: Result) -> None:
    evil = "<script>alert(1)</script>"
    info = {**of_picture.info, "model": evil, "target_label": evil, "warnings": [evil]}
    page = Result(of_picture.arrays, info).page()
    assert "<script" not in page
    assert page.count("&lt;script") >= 3


def test_show_opens_its_page(of_picture: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    place = of_picture.show()
    try:
        assert opened == [place.as_uri()]
        assert place.read_text() == of_picture.page()
    finally:
        place.unlink()
