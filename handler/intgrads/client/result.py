"""An answer as a client holds it: its arrays, its figures, and how they are drawn, shown and saved."""

from __future__ import annotations

import base64
import io
import json
import tempfile
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from intgrads.integral.drawing import draw
from intgrads.pages.page import result, still_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTEGRALS = ("integrated_grads", "integrated_gradients")
"""What the attribution is called: of a picture, of a text."""

PICTURE, WORDS = "integrated_grads", "word_scores"
"""What is drawn of a picture, and of a text."""

SEVERAL = "it has answers about several texts; ask for `format` html, which shows them all"
"""What is said of the answer to a list of texts."""

SUFFIXES = (".safetensors", ".html", ".png")
"""Files that a result can be saved as."""


@dataclass(frozen=True, eq=False)
class Result:
    """An answer.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Under the names of the documentation, as ``integrated_grads``.
    info : dict
        Figures, labels and warnings.
    """

    arrays: dict[str, NDArray[Any]]
    info: dict[str, Any]

    @classmethod
    def read(cls, raw: bytes) -> Self:
        """Read an answer of the format ``safetensors``.

        Raises
        ------
        ValueError
            If it is none, or one about several inputs.
        """
        try:
            arrays = load(raw)
            metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]).get("__metadata__", {})
            info = json.loads(metadata.get("info", "null"))
        except (SafetensorError, ValueError, KeyError) as error:
            # A KeyError is a type of numbers that NumPy has not, as bfloat16.
            raise ValueError(f"it is no answer in safetensors: {error}") from None
        if not isinstance(info, dict):
            raise ValueError(SEVERAL if "0.info" in metadata else "it is no answer: it has no `info`")
        return cls(arrays, info)

    # ------------------------------------------------------------------ what it says
    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return an array by its name."""
        if name not in self.arrays:
            raise KeyError(f"{name} is not in this answer, which has {', '.join(sorted(self.arrays))}")
        return self.arrays[name]

    @property
    def attribution(self) -> NDArray[np.float32]:
        """Integrated gradients: of a picture (1, 3, H, W), of a text (1, L, D); of several targets one axis more."""
        name = next((name for name in INTEGRALS if name in self.arrays), INTEGRALS[0])
        return self[name]

    @property
    def attribution_error(self) -> float | list[float]:
        """Estimated error of the attribution, relative; of several targets one for each."""
        error: float | list[float] = self.info["attribution_error"]
        return error

    @property
    def target_label(self) -> str | list[str]:
        """What was attributed; of several targets one for each."""
        label: str | list[str] = self.info["target_label"]
        return label

    @property
    def prediction(self) -> dict[str, Any]:
        """The largest output: its ``index``, ``label``, ``logit`` and ``probability``."""
        predicted: dict[str, Any] = self.info["prediction"]
        return predicted

    @property
    def warnings(self) -> list[str]:
        """Sentences on what was changed on the way, or has not converged."""
        return list(self.info.get("warnings", ()))

    def __repr__(self) -> str:
        """Return the figures in one line."""
        told = ", ".join(f"{name} {value}" for name, value in self._figures())
        return f"<Result of {self.info.get('model', 'an archive')}: {told or 'nothing was attributed'}>"

    def _figures(self) -> list[tuple[str, str]]:
        info, rows = self.info, []
        if "prediction" in info:
            rows.append(("prediction", _output(info["prediction"])))
        for name, title, write in (
            ("target_label", "target", str),
            ("difference", "f(x) − f(x′)", "{:.4g}".format),
            ("convergence_delta", "convergence delta", "{:+.2g}".format),
            ("local_error", "local error", "{:.2g}".format),
            ("attribution_error", "error of the map", "{:.2%}".format),
            ("evaluations", "evaluations", str),
        ):
            if info.get(name) is not None:
                told = info[name] if isinstance(info[name], list) else [info[name]]
                rows.append((title, ", ".join(write(one) for one in told)))
        if info.get("instances"):
            rows.append(("objects", ", ".join(str(one["label"]) for one in info["instances"])))
        return rows

    # ------------------------------------------------------------------ how it is shown
    def plot(self) -> Figure:
        """Draw the attribution by matplotlib: blue raised the target, red lowered it.

        Raises
        ------
        ValueError
            If nothing was attributed, or the attribution was left out of the answer.
        """
        if not self._drawable:
            raise ValueError(f"there is nothing to draw: the answer has no {PICTURE}; ask for it in `fields`")
        labels = self.target_label if isinstance(self.target_label, list) else [self.target_label]
        if PICTURE in self.arrays:
            pixels = self[PICTURE].sum(-3)
            return draw(pixels.reshape(len(labels), *pixels.shape[-2:]), labels)
        return draw(self[WORDS].reshape(len(labels), -1), labels, self.info["words"])

    @property
    def _drawable(self) -> bool:
        return PICTURE in self.arrays or WORDS in self.arrays

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the drawing, the figures and the warnings."""
        return result(self._drawing(), self._figures(), self.warnings)

    def page(self) -> str:
        """Return it as one HTML file, without scripts or outside resources."""
        model = str(self.info.get("model", "intgrads"))
        return still_page(model, self._drawing(), self._figures(), self.warnings)

    def _drawing(self) -> str | None:
        return base64.b64encode(self._png()).decode() if self._drawable else None

    def show(self) -> Path:
        """Open its page in the browser, and return where the page lies."""
        with tempfile.NamedTemporaryFile("wb", prefix="intgrads-", suffix=".html", delete=False) as file:
            file.write(self.page().encode())
        webbrowser.open(Path(file.name).as_uri())
        return Path(file.name)

    def _png(self) -> bytes:
        written = io.BytesIO()
        self.plot().savefig(written, format="png")
        return written.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write it: all of it as ``.safetensors``, its page as ``.html``, or its drawing as ``.png``.

        Raises
        ------
        ValueError
            If the path ends otherwise.
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise ValueError(f"{path.name}: a result is saved as {', '.join(SUFFIXES)}")
        if path.suffix == ".safetensors":
            # NumPy's arrays may be views, which the library would write in the order of memory.
            arrays = {name: np.asarray(array, order="C") for name, array in self.arrays.items()}
            path.write_bytes(save(arrays, {"info": json.dumps(self.info)}))
        else:
            path.write_bytes(self.page().encode() if path.suffix == ".html" else self._png())
        return path


def _output(one: dict[str, Any]) -> str:
    likely = one.get("probability")
    return f"{one['label']}, " + (f"output {one['logit']:.4g}" if likely is None else f"probability {likely:.3f}")
