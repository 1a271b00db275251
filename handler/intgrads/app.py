"""A page for people who will not use curl, by Gradio: an input and a few questions, and below the answer's own page.

It asks a server by the client, and computes nothing. ``intgrads app`` opens it.
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intgrads.client import Client, ClientError
from intgrads.places import REPOSITORY

if TYPE_CHECKING:
    import gradio

Description = Mapping[str, Any]
"""Of an archive, as it tells it."""

SENTENCES = ("The camera of this phone is not good.", "I expected little, but I loved it.")

GROUPS = {"picture": ("superpixels", "regions"), "object": ("segments", "superpixels", "regions"), "text": ("words",)}
"""Groups that can be asked for by a word, by what an archive takes."""

TARGET = "target_instance"
"""The field of archives that find objects."""

TOLERANCE = 0.05

FRAME = (
    '<iframe title="the answer" sandbox="allow-scripts allow-downloads" '
    'style="width: 100%; height: 80vh; border: 1px solid #8888" srcdoc="{}"></iframe>'
)
"""Around an answer's page: apart from the app, which its script cannot reach."""


def takes(archive: Description) -> str:
    """Return what an archive takes: a ``picture``, an ``object`` on one, or a ``text``."""
    if "sequence" in archive["fields"]:
        return "text"
    return "object" if TARGET in archive["fields"] else "picture"


def controls(archive: Description) -> dict[str, dict[str, Any]]:
    """Return how each control is set for an archive: its choices and whether it is shown."""
    kind, labels = takes(archive), archive["labels"]
    classes = {"choices": labels, "value": None, "visible": kind != "object"}
    baselines = archive["choices"]["baseline"]
    return {
        "picture": {"visible": kind != "text", "value": None},
        "text": {"visible": kind == "text", "value": ""},
        "target_class": classes,
        "against": {**classes, "choices": ["rest", *labels]},
        TARGET: {"visible": kind == "object", "value": None},
        "baseline": {"choices": baselines, "value": baselines[0]},
        "groups": {"choices": GROUPS[kind], "value": None},
    }


def request(archive: Description, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request for what was chosen: not what was left empty, nor how to attribute no object."""
    names = ["baseline", "groups", "tolerance"]
    if takes(archive) == "object":
        if asked[TARGET] is None:
            return {}
        return {TARGET: int(asked[TARGET])} | {name: asked[name] for name in names if asked[name]}
    return {name: asked[name] for name in ("target_class", "against", *names) if asked[name]}


def answer(server: str, name: str, archive: Description, asked: Mapping[str, Any], key: str | None) -> bytes:
    """Return the page of an answer.

    Raises
    ------
    ClientError
        If there is no input, or no answer.
    """
    text = asked["text"] if takes(archive) == "text" else None
    picture = None if takes(archive) == "text" else asked["picture"]
    if not text and not picture:
        raise ClientError("type a text first" if takes(archive) == "text" else "give a picture first")
    with Client(server, model=name, key=key) as client:
        return client.ask(picture, text=text, format="html", **request(archive, asked))


def page(server: str, archives: Mapping[str, Description], key: str | None = None) -> gradio.Blocks:
    """Return the app for some archives of a server, by their descriptions; needs the extra ``app``."""
    import gradio

    first = next(iter(archives))

    def explain(name: str, *given: Any) -> tuple[Any, str, Any]:
        asked = dict(zip((*controls(archives[name]), "tolerance"), given, strict=True))
        try:
            body = answer(server, name, archives[name], asked, key)
        except ClientError as error:
            return gradio.update(value=str(error), visible=True), "", gradio.update(visible=False)
        with tempfile.NamedTemporaryFile("wb", prefix="intgrads-", suffix=".html", delete=False) as file:
            file.write(body)
        page = FRAME.format(html.escape(body.decode()))
        return gradio.update(visible=False), page, gradio.update(value=file.name, visible=True)

    blocks: gradio.Blocks
    with gradio.Blocks(title="intgrads", analytics_enabled=False) as blocks:
        gradio.Markdown("# intgrads\nWhich pixels or words moved a network’s output?")
        with gradio.Row():
            with gradio.Column(scale=1, min_width=280):
                archive = gradio.Dropdown(list(archives), value=first, label="Network")
                # Set here, not as the page loads: that would take away a picture that was dropped meanwhile.
                at = controls(archives[first])
                own = {
                    "picture": gradio.Image(
                        type="filepath", label="Picture", sources=["upload", "clipboard"], **at["picture"]
                    ),
                    "text": gradio.Textbox(label="Text", lines=4, **at["text"]),
                    "target_class": gradio.Dropdown(
                        label="What for? (empty: what the network says)", **at["target_class"]
                    ),
                    "against": gradio.Dropdown(label="… and not for what else? (may be empty)", **at["against"]),
                    TARGET: gradio.Number(
                        label="Which object? (its number; empty: find them)", precision=0, **at[TARGET]
                    ),
                    "baseline": gradio.Dropdown(label="Compared with (baseline)", **at["baseline"]),
                    "groups": gradio.Dropdown(label="Groups (may be empty)", **at["groups"]),
                }
                tolerance = gradio.Slider(0.01, 0.2, TOLERANCE, step=0.01, label="Error of the map that is allowed")
                button = gradio.Button("Explain", variant="primary")
                file = gradio.File(label="The page below as a file", visible=False)
            with gradio.Column(scale=3):
                said = gradio.Textbox(label="There is no answer", visible=False, interactive=False)
                shown = gradio.HTML()
        inputs = list(own.values())

        def choose(name: str) -> list[Any]:
            return [gradio.update(**how) for how in controls(archives[name]).values()]

        archive.change(choose, archive, inputs)
        button.click(explain, [archive, *inputs, tolerance], [said, shown, file])
        _examples(own, {takes(one) for one in archives.values()})
    return blocks


def _examples(own: Mapping[str, Any], kinds: set[str]) -> None:
    """Offer the repository's pictures, where there is one, and some sentences."""
    import gradio

    pictures: Sequence[Path] = sorted((REPOSITORY / "examples").glob("*.[jp][pn]g"))
    if pictures and kinds != {"text"}:
        gradio.Examples([str(path) for path in pictures], own["picture"], label="Pictures")
    if "text" in kinds:
        gradio.Examples(list(SENTENCES), own["text"], label="Sentences")
