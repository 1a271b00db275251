"""A checkpoint is read, never run; what does not fit is listed."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.errors import CheckpointError
from intgrads.networks.checkpoints import fit, read_weights
from safetensors.torch import save_file

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def written(path: Path, content: Any = None) -> Path:
    content = WEIGHTS if content is None else content
    if path.suffix == ".safetensors":
        save_file(content, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in content.items()})
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".npz", ".safetensors"])
def test_every_kind_is_read(tmp_path: Path, suffix: str) -> None:
    read = read_weights(written(tmp_path / f"w{suffix}"))
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_pickle_of_plain_arrays_is_read(tmp_path: Path) -> None:
    arrays = {"model": OrderedDict((name, tensor.numpy()) for name, tensor in WEIGHTS.items()), "matching": "no"}
    read = read_weights(written(tmp_path / "w.pkl", arrays))
    assert all(torch.equal(read[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "_orig_mod.module.", "model._orig_mod."])
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, prefix: str) -> None:
    wrapped = {f"{prefix}{name}": tensor for name, tensor in WEIGHTS.items()}
    read = read_weights(written(tmp_path / "w.pth", wrapped))
    assert all(torch.equal(read[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_prefix_that_not_all_names_share_is_part_of_them(tmp_path: Path) -> None:
    names = {"model.a": torch.ones(1), "head.b": torch.ones(1)}
    assert read_weights(written(tmp_path / "w.pth", names)).keys() == names.keys()


@pytest.mark.parametrize("container", ["state_dict", "model_state_dict", "model", "state_dict_ema"])
def test_containers_and_the_prefix_of_data_parallel_are_taken_off(tmp_path: Path, container: str) -> None:
    content = {container: {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, "epoch": 3}
    assert read_weights(written(tmp_path / "w.pth", content)).keys() == WEIGHTS.keys()


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_nothing_in_it_is_executed(tmp_path: Path, suffix: str) -> None:
    trap = tmp_path / "trap"
    path = written(tmp_path / f"evil{suffix}", {"a": Payload(trap)})
    with pytest.raises(CheckpointError, match=r"evil|not a plain array"):
        read_weights(path)
    assert not trap.exists()
    path.write_bytes(pickle.dumps({"a": Payload(trap)}, protocol=2))
    with pytest.raises(CheckpointError):
        read_weights(path)
    assert not trap.exists()


def test_pickled_arrays_inside_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", a=np.array([Payload(tmp_path / "trap")], dtype=object))
    with pytest.raises(CheckpointError, match="evil"):
        read_weights(tmp_path / "evil.npz")
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.pkl", "w.npz", "w.safetensors", "w.bin"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 50])
def test_damaged_files_are_errors_of_ours(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="w"):
        read_weights(tmp_path / name)


def test_missing_and_unknown_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_weights(tmp_path / "w.pth")
    (tmp_path / "w.h5").touch()
    with pytest.raises(CheckpointError, match=r"\.safetensors"):
        read_weights(tmp_path / "w.h5")


def test_a_file_without_tensors_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="epoch"):
        read_weights(written(tmp_path / "w.pth", {"epoch": 3}))
    with pytest.raises(CheckpointError, match="Tensor"):
        read_weights(written(tmp_path / "w.pth", torch.ones(2)))


def test_what_does_not_fit_is_listed() -> None:
    expected = {"a.weight": torch.empty(3, 2), "b.weight": torch.empty(1)}
    with pytest.raises(CheckpointError) as error:
        fit(WEIGHTS, expected, Path("w.pth"))
    message = str(error.value)
    assert "1 missing: b.weight" in message
    assert "1 unexpected: a.bias" in message
    assert "a.weight is (2, 3), expected (3, 2)" in message


def test_a_renamed_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as file:
        file.writestr("hello.txt", "hello")
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(2).to_sparse(), torch.ones(2, dtype=torch.complex64), torch.empty(2, device="meta")],
    ids=["sparse", "complex", "meta"],
)
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    with pytest.raises(CheckpointError, match="dense real"):
        read_weights(written(tmp_path / "w.pth", {"a": tensor}))


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(CheckpointError, match="finite"):
        fit({"a": torch.tensor([1.0, float("nan")])}, {"a": torch.empty(2)}, Path("w.pth"))


def test_a_whole_model_gets_advice(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="state_dict"):
        read_weights(written(tmp_path / "W.PTH", torch.nn.Linear(2, 2)))
