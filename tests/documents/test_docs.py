"""The documentation says what the code does: its tables, tensors, links and Python; and it builds without a warning."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from docs_plots import PLOT, growth
from docs_tables import BLOCK, HOUSE, TABLES, filled
from docs_tables import PAGES as PAGES_WITH_TABLES
from intgrads.detections.request import DetectionRequest
from intgrads.labels import Labels
from intgrads.pictures.baselines import ImageBaseline
from intgrads.pictures.classifier import ImageClassifier
from intgrads.pictures.decoding import Picture
from intgrads.pictures.objects import Objects
from intgrads.pictures.request import ImageRequest
from intgrads.pictures.transform import PictureSpec
from intgrads.request import SPREAD
from intgrads.service import Service
from intgrads.settings import Settings
from intgrads.texts.baselines import TextBaseline
from intgrads.texts.request import TextRequest
from safetensors.torch import load
from shared.pages import DOCS, PAGES, ROOT, anchors, blocks, links, names, table_rows
from shared.texts import bert_service
from shared.toys import LABELS, json_call, pixels, small_network, told

REQUESTS_PAGE = (ROOT / "docs" / "requests.md").read_text()
TEXT_PAGE = (ROOT / "docs" / "text.md").read_text()


# ---------------------------------------------------------------------- tables from the code
@pytest.mark.parametrize("page", PAGES_WITH_TABLES, ids=lambda page: page.name)
def test_tables_are_what_the_code_defines(page: Path) -> None:
    text = page.read_text()
    assert text == filled(text), "run `python scripts/docs_tables.py`"


def test_plots_are_what_the_benchmarks_found() -> None:
    assert PLOT.read_text() == growth(), "run `python scripts/docs_plots.py`"


def test_every_table_stands_on_one_page() -> None:
    found = [name for page in PAGES_WITH_TABLES for _, name, _ in BLOCK.findall(page.read_text())]
    assert sorted(found) == sorted(TABLES)


@pytest.mark.parametrize("kind", [ImageRequest, DetectionRequest, TextRequest])
def test_every_field_of_a_request_is_in_a_table(kind: type[Any]) -> None:
    tables = "\n".join(TABLES[name]() for name in TABLES if name.startswith("fields"))
    assert all(f"\n| `{name}` | " in tables for name in kind.model_fields)


@pytest.mark.parametrize(
    ("page", "what", "known"), [(REQUESTS_PAGE, "picture", ImageBaseline), (TEXT_PAGE, "text", TextBaseline)]
)
def test_every_baseline_is_explained(page: str, what: str, known: Any) -> None:
    start = page.index(f"| `baseline` of a {what} |")
    rows = table_rows(page[start - 1 :], "\n")
    assert sorted(name for row in rows for name in names(row[0])) == sorted(get_args(known))


# ---------------------------------------------------------------------- tensors, as answers have them
class OneObject:
    """Finds the same object on every picture, twice."""

    labels = Labels(["ring"])

    def find(self, picture: Picture, score_threshold: float, *_: Any) -> Objects:
        mask = np.ones((2, *picture.size), bool)
        return Objects(
            mask, np.ones((2, 4), np.float32), np.ones(2, np.float32), np.zeros(2, np.int64), ["ring"] * 2,
            score_threshold,
        )  # fmt: skip


def picture_service() -> Service[ImageClassifier]:
    spec = PictureSpec(height=8, width=10)
    network = ImageClassifier(small_network().eval().requires_grad_(False), spec, Labels(LABELS), OneObject())
    return Service("toy", network, Settings(threads=1), torch.device("cpu"))


def ask(service: Any, **fields: Any) -> Any:
    reply = service.answer([json_call(**fields)])[0]
    assert reply.status == 200, reply.body
    return reply


PICTURE = {"img_data": pixels(13, 17).tolist(), "groups": "segments", "n_steps": 6}
TEXT = {"sequence": "The camera isn't good.", "groups": "words", "n_steps": 6}
OF_KINDS: dict[str, tuple[str, type[Any], Callable[[], Any], dict[str, Any]]] = {
    "pictures": (REQUESTS_PAGE, ImageRequest, picture_service, PICTURE),
    "text": (TEXT_PAGE, TextRequest, bert_service, TEXT),
}


@pytest.mark.parametrize("kind", OF_KINDS)
def test_every_tensor_is_listed_with_its_shape(kind: str) -> None:
    page, request, service, content = OF_KINDS[kind]
    rows = table_rows(page, f"<!-- checked: {kind} -->")
    shapes = {names(row[0])[0]: row[1] for row in rows}
    assert sorted(shapes) == sorted({*request.tensors, *request.figures})
    named = [name for name in shapes if name in request.tensors and name != SPREAD]
    answer = load(b"".join(ask(service(), **content, fields=named, format="safetensors").body))
    several = load(b"".join(ask(service(), **content, baseline="uniform:2", format="safetensors").body))
    answer |= {name: tensor for name, tensor in several.items() if name.endswith("_spread")}
    strings = told(ask(service(), **content, format="json"))
    sides: dict[str, int] = {}
    for name, shape in shapes.items():
        if name in answer:
            found = list(answer[name].shape)
            stated = [side for side in re.split(r"[(), ]+", shape) if side]
        else:
            found, stated = [len(strings[name])], [shape.removesuffix(" strings")]
        assert len(found) == len(stated), (name, found)
        for side, letter in zip(found, stated, strict=True):
            # A number is itself; a letter is the same number wherever it stands on the page.
            assert side == (int(letter) if letter.isdigit() else sides.setdefault(letter, side)), (name, letter)
    assert sides["n"] == 6
    assert sides["C"] == 3


def test_every_figure_of_info_is_listed_and_no_other() -> None:
    listed = [name for row in table_rows(REQUESTS_PAGE, "<!-- checked: info -->") for name in names(row[0])]
    given = {
        name
        for _, _, service, content in OF_KINDS.values()
        for baseline in ("zero", "uniform:2")
        for name in told(ask(service(), **content, baseline=baseline, format="json"))
    }
    _, _, pictures, picture = OF_KINDS["pictures"]
    given |= set(told(ask(pictures(), **{**picture, "groups": "regions"}, format="json")))
    # What JSON has beside `info`: the figures, which have a table of their own.
    given -= {name for _, request, _, _ in OF_KINDS.values() for name in request.figures} - set(listed)
    of_detections = {"target_instance", "target"}
    assert of_detections <= DetectionRequest.model_fields.keys()
    assert sorted(listed) == sorted(given | of_detections)


# ---------------------------------------------------------------------- the pages themselves
def test_the_map_of_the_house_names_every_module_once() -> None:
    rows = table_rows((ROOT / "CONTRIBUTING.md").read_text(), "<!-- table: house -->")
    listed = [name for row in rows for name in names(row[0])]
    modules = [path.relative_to(ROOT).as_posix() for top in HOUSE for path in (ROOT / top).rglob("*.py")]
    there = [name.removesuffix("__init__.py") for name in modules]
    assert sorted(listed) == sorted(there)
    assert all(len(row[1]) > 10 for row in rows)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        # What mkdocstrings makes has anchors too; the build below looks at those.
        if anchor and not anchor.startswith("intgrads."):
            assert anchor in anchors(target), link


def test_links_are_found() -> None:
    assert "docs/requests.md" in links(ROOT / "README.md")
    assert "networks.md#settings" in links(ROOT / "docs" / "requests.md")
    assert len([link for page in PAGES for link in links(page)]) > 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    for path in re.findall(r"`((?:\./)?(?:\w+/)*[\w.]+\.(?:sh|py|md|properties|yaml))`", page.read_text()):
        places = [ROOT, ROOT / "handler" / "intgrads"]
        assert any((place / path).is_file() for place in places), path


@pytest.mark.parametrize(
    "page", [page for page in DOCS if page.name not in ("bulk.md", "client.md")], ids=lambda page: page.name
)
def test_python_of_the_docs_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What asks a server, ``test_documented_client.py`` runs; what reads a run over a data set, ``test_bulk.py``."""
    for block in blocks(page, "python"):
        exec(block, {})
    if page.name == "api.md":
        assert "1." in capsys.readouterr().out


def test_the_docs_build_without_a_warning(tmp_path: Path) -> None:
    assert importlib.util.find_spec("mkdocs"), "the docs extra is missing: pip install -c constraints.txt -e '.[docs]'"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "site" / "api" / "index.html").read_text()
    for name in ("intgrads.integral.quadrature.quadrature", "intgrads.subject.Classifier", "intgrads.call.Call"):
        assert f'id="{name}"' in api
    assert ":class:" not in api
