"""Names of a network's outputs, and which output a caller means."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from intgrads.errors import RequestError

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""CIFAR-10's labels in the order of its classes (Krizhevsky 2009)."""

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's things in the order of a detector's classes (Lin et al., ECCV 2014)."""


class Labels:
    """The label of each output, found by name, by one of its synonyms, or by index.

    ImageNet's labels list synonyms, as in ``"tabby, tabby cat"``: each of them names the class where only one class
    bears it. Upper and lower case are the same.

    Parameters
    ----------
    names : sequence of str
        One label an output, in the order of the outputs.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        whole: dict[str, set[int]] = defaultdict(set)
        parts: dict[str, set[int]] = defaultdict(set)
        for index, name in enumerate(self._names):
            whole[name.casefold()].add(index)
            for part in name.split(","):
                parts[part.strip().casefold()].add(index)
        self._whole, self._parts = whole, parts

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> str:
        return self._names[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def find(self, name: str) -> set[int]:
        """Return the indices that a name may mean; empty where the name is unknown."""
        key = name.strip().casefold()
        return self._whole.get(key) or self._parts.get(key, set())

    def resolve(self, target: int | str, field: str = "target_class") -> int:
        """Return the index of the output that `target` names.

        Parameters
        ----------
        target : int or str
            An index, a label, a synonym of a label, or the digits of an index.
        field : str
            Field of the request to name in an error.

        Raises
        ------
        RequestError
            If the label is unknown (with the closest ones) or ambiguous, or the index is out of range.
        """
        if isinstance(target, str):
            found = self.find(target)
            if len(found) == 1:
                return next(iter(found))
            if found:
                indices = ", ".join(str(i) for i in sorted(found))
                raise RequestError(
                    f"{len(found)} classes are called {target!r}; send one of the indices {indices}", field
                )
            if not re.fullmatch(r"\s*-?[0-9]{1,12}\s*", target):
                several = '; several are sent as JSON, ["a", "b"]' if "," in target else ""
                raise RequestError(f"unknown label {_short(target)!r}; {self._suggest(target)}{several}", field)
            target = int(target)
        if not 0 <= target < len(self):
            raise RequestError(
                f"index {_short(str(target))} is out of range; this model has classes 0 to {len(self) - 1}", field
            )
        return target

    def _suggest(self, name: str) -> str:
        if len(self) <= 20:
            return "the labels are " + ", ".join(self._names)
        key = name.strip().casefold()
        if not key:
            return f"send a label or an index from 0 to {len(self) - 1}"
        within = [name for name in self._names if key in name.casefold()]
        # Whole words first: for "cat", "tiger cat" before "bullfrog, Rana catesbeiana".
        within.sort(key=lambda name: key not in re.split(r"\W+", name.casefold()))
        parts = difflib.get_close_matches(key, self._parts, n=5, cutoff=0.6)
        close = [self._names[min(self._parts[part])] for part in parts]
        near = list(dict.fromkeys(within + close))[:5]
        hint = f"; near it are {' | '.join(near)}" if near else ""
        return f"send a label of this model or an index from 0 to {len(self) - 1}{hint}"


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
