"""Reading a checkpoint without running what is inside it, and fitting it to a network.

PyTorch's files and pickles are programs. ``.pth`` is read with PyTorch's weights-only loader, ``.pkl`` by an
unpickler that can build plain arrays and nothing else, ``.npz`` with pickling off, and ``.safetensors`` holds no
program at all. Used when an archive is made; the server itself only ever reads safetensors.
"""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from intgrads.errors import CheckpointError

CONTAINERS = ("state_dict", "model_state_dict", "model", "state_dict_ema")
"""Keys under which training scripts put the weights."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What wrappers put before every name: DataParallel, torch.compile, and training scripts whose network is ``model``."""

_PLAIN_ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
}

_EXPANSION, _SMALL = 20, 256 * 2**20
"""How much larger than its file a checkpoint's content may be, and what is too little to be a bomb. Weights are noise:
what packs better than this is none."""

_PLAIN_VALUES: list[Any] = [
    argparse.Namespace,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]
"""What training scripts leave beside the weights, and PyTorch's loader refuses: options and NumPy's numbers."""


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that builds dictionaries of NumPy arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class of the allow-list.

        Raises
        ------
        CheckpointError
            If the pickle asks for anything else.
        """
        if (module, name) == ("_codecs", "encode"):
            return _bytes_of_python2
        if (module, name) not in _PLAIN_ARRAYS:
            raise CheckpointError(f"the pickle asks for {module}.{name}, which is not a plain array; not loaded")
        return super().find_class(module, name)


def _bytes_of_python2(text: str, encoding: str) -> bytes:
    """Return what pickles of protocol 2 write as text; the codec is never looked up by the name in the file."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise CheckpointError("the pickle asks for a codec, which is not a plain array; not loaded")
    return text.encode("latin-1")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint.

    Parameters
    ----------
    path : Path
        ``.pth``, ``.pt``, ``.bin``, ``.ckpt``, ``.pkl``, ``.npz`` or ``.safetensors``. Weights may lie under one of
        :data:`CONTAINERS`, and every name may begin with :data:`PREFIXES`.

    Raises
    ------
    CheckpointError
        If the file is missing, of another kind, damaged, or holds more than plain tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}")
    readers: dict[str, Callable[[Path], Any]] = {
        ".pth": _read_torch,
        ".pt": _read_torch,
        ".bin": _read_torch,
        ".ckpt": _read_torch,
        ".pkl": _read_pickle,
        ".npz": _read_npz,
        ".safetensors": load_file,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise CheckpointError(f"{path.name}: unknown kind of checkpoint; use one of {', '.join(readers)}")
    try:
        content = reader(path)
    except (
        OSError, ValueError, EOFError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, IndexError,
        OverflowError, MemoryError, pickle.UnpicklingError, zipfile.BadZipFile, SafetensorError,
    ) as error:  # fmt: skip
        if isinstance(error, pickle.UnpicklingError) and reader is _read_torch:
            raise CheckpointError(
                f"{path.name} is no PyTorch file of plain tensors (a whole model, perhaps), and nothing inside a file "
                "is run; save the weights alone: torch.save(model.state_dict(), FILE)"
            ) from None
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, MemoryError):
            said = f"it states more than this machine's memory holds ({said})"
        raise CheckpointError(f"{path.name} cannot be read as weights: {said}") from None
    return _named_tensors(content, path)


def _refuse_bombs(path: Path) -> None:
    """Raise a CheckpointError where a zip states that it unpacks to far more than it is."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as file:
        unpacked = sum(member.file_size for member in file.infolist())
    if unpacked > max(_SMALL, _EXPANSION * size):
        raise CheckpointError(
            f"{path.name} has {size / 2**20:.1f} MB and states that it unpacks to {unpacked / 2**20:.0f} MB: no "
            "weights pack so well; not loaded"
        )


def _read_torch(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        _refuse_bombs(path)
    with warnings.catch_warnings(), torch.serialization.safe_globals(_PLAIN_VALUES):
        # It warns of what it is about to check or refuse; what it finds is told as an error.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        # latin1 is how NumPy arrays pickled by Python 2 are read.
        return ArrayUnpickler(file, encoding="latin1").load()


def _read_npz(path: Path) -> Any:
    _refuse_bombs(path)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for key in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path.name} holds a {type(content).__name__}, not named tensors (a state_dict)")
    tensors = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            if value.layout is not torch.strided or value.is_quantized or value.is_meta or value.is_complex():
                raise CheckpointError(
                    f"{path.name}: {name} is sparse, quantised, complex or without values; save dense real tensors"
                )
            tensors[str(name)] = value.detach()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            tensors[str(name)] = torch.from_numpy(np.array(value))
    if not tensors:
        raise CheckpointError(f"{path.name} holds no named tensors; found {', '.join(map(str, list(content)[:5]))}")
    return _unwrapped(tensors)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without the prefixes that all of their names share, however many stand before each other."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) and name != prefix for name in tensors):
            return _unwrapped({name.removeprefix(prefix): value for name, value in tensors.items()})
    return tensors


def fit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the weights that a network takes, contiguous and in its types.

    Parameters
    ----------
    weights : mapping of str to Tensor
        What was read.
    expected : mapping of str to Tensor
        The network's state_dict.
    path : Path
        For the message.

    Raises
    ------
    CheckpointError
        If names or shapes differ; the first few of each are listed with what was expected.
    """
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    shapes = [
        f"{name} is {tuple(weights[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
    ]
    problems = [
        f"{len(found)} {what}: {', '.join(found[:5])}{', …' if len(found) > 5 else ''}"
        for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if problems:
        raise CheckpointError(f"{path.name} does not fit the network\n  " + "\n  ".join(problems))
    fitted = {name: weights[name].to(expected[name].dtype).contiguous() for name in expected}
    broken = [name for name, weight in fitted.items() if not torch.isfinite(weight).all()]
    if broken:
        raise CheckpointError(f"{path.name} holds numbers that are not finite: {', '.join(broken[:5])}")
    return fitted
