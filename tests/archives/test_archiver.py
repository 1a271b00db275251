"""``archive.sh``: a checkpoint becomes an archive from which a worker loads the same network."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from intgrads.archives import archiver
from intgrads.archives.archive import open_archive
from intgrads.archives.names import LABELS, MANIFEST, WEIGHTS
from intgrads.errors import CheckpointError
from intgrads.networks.family import Order
from intgrads.pictures.classifier import ImageClassifier
from intgrads.settings import Settings
from safetensors.torch import save_file
from shared.archives import TINY
from shared.places import EXAMPLES, HANDLER

NAME = "test_tinynet"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "model_store"


def run(store: Path, *arguments: object) -> int:
    return archiver.main([str(a) for a in arguments], store)


def test_a_network_of_timm_goes_from_checkpoint_to_worker(tiny: Path, store: Path, tmp_path: Path) -> None:
    options = ("--weights", tiny / "w.pth", "--labels", tiny / "labels.txt", "--name", NAME, "--workers", 2)
    settings = ("--set", "n_steps=7", "--set", "input_size=48,64", "--set", "mean=0.1,0.2,0.3", "--batch-size", 4)
    assert run(store, f"timm:{TINY}", *options, *settings, "--device", "cpu") == 0
    with zipfile.ZipFile(store / f"{NAME}.mar") as mar:
        names = mar.namelist()
        assert {MANIFEST, LABELS, WEIGHTS, "handler.py", "intgrads/service.py", "model-config.yaml"} <= set(names)
        assert not [name for name in names if name.endswith((".pth", ".pt", ".pkl", ".bin", ".pyc"))]
        assert not [
            name for name in names if name.startswith(("intgrads/client", "intgrads/command", "intgrads/serving"))
        ]
        mar.extractall(tmp_path / "mar")
        config = mar.read("model-config.yaml").decode()
    assert "minWorkers: 2" in config
    assert "batchSize: 4" in config
    assert "deviceType: cpu" in config
    archive = open_archive(tmp_path / "mar")
    assert archive.settings.n_steps == 7
    assert list(archive.network.labels) == ["cat", "dog", "horse"]
    assert isinstance(archive.network, ImageClassifier)
    assert archive.network.shape == (3, 48, 64)
    assert tuple(archive.network.picture.mean) == (0.1, 0.2, 0.3)
    torch.manual_seed(0)
    expected = timm.create_model(TINY, num_classes=3).eval()
    x = torch.rand(2, 3, 48, 64)
    torch.testing.assert_close(archive.network.module(x), expected(x))
    assert not archive.network.module.training
    assert not any(p.requires_grad for p in archive.network.module.parameters())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet99"], "demo-image"),
        (["resnet18"], "did you mean timm:resnet18?"),
        (["timm:resnet99", "--weights", "{tiny}/w.pth"], "no model 'resnet99'"),
        ([f"timm:{TINY}"], "needs --weights FILE"),
        ([f"timm:{TINY}", "--weights", "{tiny}/w.pth"], "needs --labels FILE (one label a line): the checkpoint has 3"),
        ([f"timm:{TINY}", "--weights", "{tiny}/w.pth", "--tokenizer", "vocab.txt"], "takes no --tokenizer PATH"),
        (
            [f"timm:{TINY}", "--weights", "w.pth", "--tensormask-labels", "{tiny}/labels.txt"],
            "--tensormask FILE",
        ),
        ([f"timm:{TINY}", "--weights", "none.pth", "--labels", "{tiny}/labels.txt"], "no such file"),
        ([f"timm:{TINY}", "--weights", "{tiny}/w.pth", "--labels", "none.txt"], "none.txt"),
        (["timm:resnet18", "--weights", "{tiny}/w.pth", "--labels", "{tiny}/labels.txt"], "unexpected: "),
        (["bit-r18x1", "--weights", "{tiny}/w.pth"], "bit-r50x1, "),
        (["lanet-large", "--weights", "{tiny}/w.pth"], "of its family there are lanet"),
        (["demo-image", "--weights", "{tiny}/w.pth"], "brings its own"),
        (["--set", "n_steps"], "KEY=VALUE"),
        (["--set", "steps=5"], "memory_budget_mb"),
        (["--set", "n_steps=none"], "n_steps=none"),
        (["--set", "n_steps=0"], "greater than or equal to 1"),
        (["--set", "n_steps=2000"], "over max_n_steps"),
        (["--set", "std=0,0,0"], "above 0"),
        (["--set", "mean=nan,0,0"], "finite number"),
        (["--set", "std=1,inf,1"], "finite number"),
        (["--labels", "none.txt"], "no such file: none.txt"),
        (["--set", "input_size=64"], "HEIGHT,WIDTH"),
        (["--set", "crop_pct=0"], "from 0.01 to 1"),
        (["--set", "crop_pct=1.5"], "from 0.01 to 1"),
        (["--set", "crop_pct=nan"], "from 0.01 to 1"),
        (["--set", "crop_pct=most"], "from 0.01 to 1"),
        (["--set", "resize=foo"], "`crop`, `squash` or `pad`"),
        (["--set", "resize="], "`crop`, `squash` or `pad`"),
        (["--name", "../evil"], "letters"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(
    arguments: list[str], words: str, tiny: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, *(a.format(tiny=tiny) for a in arguments)) == 1
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert not list(store.glob("*.mar"))


def test_too_few_labels_are_told(tiny: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.txt").write_text("cat\ndog")
    assert run(store, f"timm:{TINY}", "--weights", tiny / "w.pth", "--labels", tmp_path / "two.txt") == 1
    assert "--labels names 2 and the checkpoint has 3 outputs" in capsys.readouterr().err
    assert not store.exists() or not list(store.iterdir())


def test_an_archive_that_exists_is_kept_when_a_new_one_fails(store: Path) -> None:
    store.mkdir()
    (store / "intgrads.mar").write_bytes(b"old")
    assert run(store, "timm:nothing") == 1
    assert (store / "intgrads.mar").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("l.txt", "cat\n dog \n", ["cat", "dog"]),
        ("l.txt", "\ufeffcat\ndog", ["cat", "dog"]),
        ("l.json", '["cat", "dog"]', ["cat", "dog"]),
        ("l.json", '{"1": "dog", "0": "cat"}', ["cat", "dog"]),
    ],
)
def test_labels_are_read_as_lines_list_or_object(tmp_path: Path, name: str, text: str, labels: list[str]) -> None:
    (tmp_path / name).write_text(text)
    assert archiver.read_labels(tmp_path / name) == labels


@pytest.mark.parametrize(
    ("name", "text"), [("l.txt", "cat\n\ndog"), ("l.txt", ""), ("l.json", "{"), ("l.json", "3"), ("l.json", '"abc"')]
)
def test_labels_with_gaps_or_none_are_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError):
        archiver.read_labels(tmp_path / name)


def test_the_demos_weights_are_the_real_ones(tmp_path: Path) -> None:
    """A cat is a tiger cat, as the README shows; weights in another order than timm's would see none."""
    from intgrads.archives.archive import write_archive
    from intgrads.pictures.decoding import decode_picture

    write_archive(Order("demo-image", None, None, Settings()), tmp_path)
    network = open_archive(tmp_path).network
    assert isinstance(network, ImageClassifier)
    cat = decode_picture((EXAMPLES / "cat.jpg").read_bytes(), None, 10**9)
    probabilities = network.module(network.picture.normalise(network.picture.resize(cat))[None]).softmax(1)[0]
    assert network.labels[int(probabilities.argmax())] == "tiger cat"
    assert probabilities.max() == pytest.approx(0.39, abs=0.01)


def test_an_archive_from_before_a_setting_loads_with_its_default(tiny: Path, tmp_path: Path) -> None:
    from intgrads.archives.archive import write_archive
    from intgrads.service import Service

    write_archive(Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], Settings()), tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["settings"] = {"n_steps": 7}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    assert Service.load(tmp_path, torch.device("cpu")).settings == Settings(n_steps=7)


def test_a_damaged_archive_is_an_error_not_a_wrong_network(tiny: Path, tmp_path: Path) -> None:
    from intgrads.archives.archive import write_archive

    order = Order(f"timm:{TINY}", tiny / "w.pth", ["cat", "dog", "horse"], Settings())
    write_archive(order, tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    save_file({"wrong": torch.ones(1)}, tmp_path / WEIGHTS)
    with pytest.raises(RuntimeError, match="wrong"):
        open_archive(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "family": "unknown"}))
    with pytest.raises(ValueError, match="'unknown' are not known here; it was made by another version"):
        open_archive(tmp_path)
    shutil.rmtree(tmp_path)


def test_labels_of_imagenet_are_timms_where_none_are_given(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(timm.create_model(TINY).state_dict(), tmp_path / "w.pth")
    assert run(store, f"timm:{TINY}", "--weights", tmp_path / "w.pth") == 0
    assert "imagenet-1k" in capsys.readouterr().out
    with zipfile.ZipFile(store / "intgrads.mar") as mar:
        labels = json.loads(mar.read(LABELS))
    assert len(labels) == 1000
    assert labels[281:283] == ["tabby, tabby cat", "tiger cat"]


WITHOUT_TORCH = """
import sys
from intgrads.archives import archiver
try:
    status = archiver.main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
print(status, "torch" in sys.modules, "timm" in sys.modules)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--help"], 0), (["timm:resnet50"], 1), (["bert"], 1), (["tensormask"], 1), (["--set", "n_steps=0"], 1)],
)
def test_help_and_what_is_missing_are_told_without_pytorch(arguments: list[str], status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(HANDLER)},
    )
    assert done.stdout.splitlines()[-1] == f"{status} False False"
