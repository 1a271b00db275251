"""A wheel of the package, installed far from the repository, computes in a notebook, makes archives and serves them."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from shared.places import EXAMPLES, HANDLER, ROOT

PACKAGE = HANDLER / "intgrads"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel with what is installed here: nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-w", str(folder)]
    run([sys.executable, "-m", "pip", "wheel", str(ROOT), *options], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it in an environment of its own that borrows all else from the one that runs, and return its programs."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)], environment.parent)
    programs = environment / "bin"
    # A path in a .pth file is searched, but the .pth files there are not read: an editable install stays unseen.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    run([sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", *options], environment.parent)
    return programs


@pytest.fixture(scope="module")
def store(bin_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make both demos' archives with the installed program, in a folder that has nothing of the repository."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for model in ("demo-image", "demo-text"):
        run([str(bin_folder / "intgrads-archive"), model, "--name", model], elsewhere)
    return elsewhere / "model_store"


def run(command: list[str], folder: Path) -> str:
    """Run a program elsewhere, without a developer's PYTHONPATH, and return what it says."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


BESIDE = (HANDLER / "handler.py", ROOT / "config.properties", ROOT / "metrics.yaml")


def test_it_holds_every_file_of_the_package_and_what_torchserve_takes(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as whole:
        held = {name: whole.read(name) for name in whole.namelist() if ".dist-info/" not in name}
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    names = {f"intgrads/{path.relative_to(PACKAGE)}": path for path in files}
    names |= {f"intgrads/{path.name}": path for path in BESIDE}
    assert held.keys() == names.keys()
    assert all(held[name] == path.read_bytes() for name, path in names.items())


NOTEBOOK = """
import intgrads, torch
from intgrads import integrated_gradients

network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3), torch.nn.Tanh())
x = torch.rand(1, 3, 2, 2)
result = integrated_gradients(network, x, torch.zeros_like(x), target=1, n_steps=20)
print(intgrads.__file__, abs(result.convergence_delta[0]) < 1e-4)
"""


def test_it_runs_in_a_notebook(bin_folder: Path, tmp_path: Path) -> None:
    place, exact = run([str(bin_folder / "python"), "-c", NOTEBOOK], tmp_path).split()
    assert Path(place).is_relative_to(bin_folder.parent)
    assert exact == "True"


@pytest.mark.parametrize("model", ["demo-image", "demo-text"])
def test_its_archives_hold_the_installed_package_and_torchserves_handler(
    model: str, store: Path, bin_folder: Path
) -> None:
    (installed,) = bin_folder.parent.glob("lib/python*/site-packages/intgrads")
    with zipfile.ZipFile(store / f"{model}.mar") as mar:
        assert mar.read("handler.py") == (installed / "handler.py").read_bytes()
        for name in ("intgrads/service.py", "intgrads/detections/configs/Base-TensorMask.yaml"):
            assert mar.read(name) == installed.parent.joinpath(name).read_bytes()


SAID = {"demo-image": ("cat.jpg", "tiger cat"), "demo-text": ("negation.txt", "negative")}


@pytest.mark.server
@pytest.mark.parametrize("model", SAID)
def test_its_command_serves_its_archives(model: str, bin_folder: Path, store: Path, tmp_path: Path) -> None:
    example, label = SAID[model]
    asking = ["attribute", str(EXAMPLES / example), "--model", str(store / f"{model}.mar"), "--format", "json"]
    run([str(bin_folder / "intgrads"), *asking], tmp_path)
    (answer,) = tmp_path.iterdir()
    assert json.loads(answer.read_text())["prediction"]["label"] == label
