"""``archive.sh``: a checkpoint becomes ``model_store/NAME.mar``.

The command line is read here, the ingredients come from the model's family, and torch-model-archiver packs them with
the handler and the package.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError
from safetensors import SafetensorError

import intgrads
from intgrads.archives.bounded import INTERRUPTED
from intgrads.archives.names import MODEL_CONFIG
from intgrads.baselines import EXAMPLES
from intgrads.errors import CheckpointError
from intgrads.networks import find_entry, usages
from intgrads.networks.family import Order
from intgrads.places import CONFIG, HANDLER, METRICS, MODEL_STORE, PACKAGE
from intgrads.settings import Settings

NOT_A_WORKERS = ("client", "command", "serving", CONFIG.name, METRICS.name)
"""What of the package is of no use to a worker: it asks and starts servers."""

ENCODING_SECONDS = 120
"""What TorchServe waits beyond the service's own limit before it takes a worker for dead."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parse = argparse.ArgumentParser(
        prog="archive.sh",
        description="Make model_store/NAME.mar, which torchserve serves.",
        epilog=f"MODEL is one of\n{usages()}\n\nsettings for --set KEY=VALUE\n{_settings_help()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parse.add_argument("model", metavar="MODEL", nargs="?", default="demo-image", help="default demo-image")
    parse.add_argument(
        "--weights", type=Path, metavar="FILE", help=".pth, .pt, .bin, .ckpt, .pkl, .npz or .safetensors"
    )
    parse.add_argument("--labels", type=Path, metavar="FILE", help="one label a line, or a JSON list")
    parse.add_argument(
        "--tokenizer", type=Path, metavar="PATH", help="vocab.txt, tokenizer.json, spiece.model, or a folder with one"
    )
    parse.add_argument(
        "--tensormask", type=Path, metavar="FILE", help="a TensorMask's weights, to find objects on pictures"
    )
    parse.add_argument(
        "--tensormask-config", type=Path, metavar="FILE", help="its YAML; default the published R50-FPN 6x"
    )
    parse.add_argument(
        "--tensormask-labels", type=Path, metavar="FILE", help="its labels, where it stands beside a classifier"
    )
    parse.add_argument(
        "--examples", type=Path, metavar="DIR", help="pictures or text files that baseline=examples draws from"
    )
    parse.add_argument("--name", default="intgrads", help="name of the archive, and in its URL; default intgrads")
    parse.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="where to run; default auto")
    parse.add_argument("--workers", type=_positive, default=1, metavar="N", help="workers at the start; default 1")
    parse.add_argument(
        "--batch-size", type=_positive, default=1, metavar="N", help="requests answered together; default 1"
    )
    parse.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; may be repeated")
    return parse


def _settings_help() -> str:
    return "\n".join(f"  {name}={field.default}   {field.description}" for name, field in Settings.model_fields.items())


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def read_settings(pairs: Sequence[str]) -> Settings:
    """Read ``KEY=VALUE`` pairs.

    Raises
    ------
    CheckpointError
        If a pair is none, its key unknown or its value out of range.
    """
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise CheckpointError(f"--set {pair}: write KEY=VALUE")
        values[key] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise CheckpointError(f"--set: {first['msg'].removeprefix('Value error, ')}") from None
        key = str(first["loc"][0])
        if key not in Settings.model_fields:
            raise CheckpointError(f"--set {key}: no such setting; there are\n{_settings_help()}") from None
        meaning = Settings.model_fields[key].description
        said = "give all of its numbers, with commas" if first["type"] == "missing" else first["msg"]
        raise CheckpointError(f"--set {key}={values[key]}: {said} ({key}: {meaning})") from None


def read_labels(path: Path) -> list[str]:
    """Read labels, one a line, or a JSON list, or a JSON object from index to label.

    Raises
    ------
    CheckpointError
        If the file is missing, empty, or not such a list.
    """
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            content = json.loads(text)
            if isinstance(content, dict):
                content = [content[str(i)] for i in range(len(content))]
            if not isinstance(content, list):
                raise TypeError("a JSON list of labels, or an object from index to label, is needed")
            labels = [str(label).strip() for label in content]
        else:
            labels = [line.strip() for line in text.rstrip().splitlines()]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as labels: {error}") from None
    if not all(labels) or not labels:
        raise CheckpointError(f"{path} holds an empty label; write one label a line, in the order of the outputs")
    return labels


def make_archive(
    order: Order, name: str, *, device: str = "auto", workers: int = 1, batch_size: int = 1, store: Path = MODEL_STORE
) -> Path:
    """Write ``NAME.mar`` into a model store, tell its maker what was settled for them, and return its path.

    Raises
    ------
    CheckpointError
        If the ingredients do not fit, or torch-model-archiver fails.
    """
    # Imported late: PyTorch takes seconds, and what is missing is told without it.
    from intgrads.archives.archive import write_archive

    store.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        stage = Path(temporary, "stage")
        stage.mkdir()
        for note in write_archive(order, stage):
            print(f"{name}: {note}")
        # The weights of the demo's text network go into its own archives only.
        left_out = shutil.ignore_patterns("__pycache__", "*.safetensors", HANDLER.name, *NOT_A_WORKERS)
        shutil.copytree(PACKAGE, stage / "code" / "intgrads", ignore=left_out)
        if (stage / EXAMPLES).is_dir():
            # What lies in the folders that are named to the archiver, it puts at the archive's top.
            (stage / EXAMPLES).rename(stage / "code" / EXAMPLES)
        parts = sorted(part.name for part in stage.iterdir())
        config: dict[str, int | str] = {
            "minWorkers": workers,
            "maxWorkers": workers,
            "batchSize": batch_size,
            "maxBatchDelay": 50,
            "responseTimeout": order.settings.response_timeout + ENCODING_SECONDS,
            "startupTimeout": 300,
        }
        if device != "auto":
            config["deviceType"] = device
        config_file = Path(temporary, MODEL_CONFIG)
        config_file.write_text(yaml.safe_dump(config))
        command = [
            sys.executable, "-m", "model_archiver.model_packaging",
            "--model-name", name,
            "--version", intgrads.__version__,
            "--handler", str(HANDLER),
            "--extra-files", ",".join(str(stage / part) for part in parts),
            "--config-file", str(config_file),
            "--export-path", str(stage),
        ]  # fmt: skip
        # The archiver deletes $TMPDIR/NAME before it starts, so it gets a directory of its own.
        private = Path(temporary, "archiver")
        private.mkdir()
        done = subprocess.run(
            command, env={**os.environ, "TMPDIR": str(private)}, capture_output=True, text=True, check=False
        )
        made = stage / f"{name}.mar"
        if done.returncode or not made.is_file():
            raise CheckpointError(f"torch-model-archiver failed:\n{done.stdout}{done.stderr}")
        # Moved into place at once: a server that looks into the store never sees half an archive. Hidden from it until
        # then, and in a folder of its own: of two that are made at once, the later one stays.
        with tempfile.TemporaryDirectory(dir=store, prefix=f".{name}.") as beside:
            partial = Path(beside, made.name)
            shutil.copyfile(made, partial)
            return partial.replace(store / made.name)


def main(arguments: Sequence[str] | None = None, store: Path = MODEL_STORE) -> int:
    """Run ``archive.sh`` and return its exit status."""
    given = parser().parse_args(arguments)
    try:
        if not given.name.replace("-", "").replace("_", "").isalnum() or not given.name.isascii():
            raise CheckpointError(f"--name {given.name!r}: use letters, digits, - and _ only")
        labels, tensormask_labels = (
            None if path is None else read_labels(path) for path in (given.labels, given.tensormask_labels)
        )
        order = Order(
            given.model, given.weights, labels, read_settings(given.set), given.tokenizer, given.tensormask,
            given.tensormask_config, tensormask_labels, given.examples,
        )  # fmt: skip
        find_entry(order.model).check(order)
        path = make_archive(
            order, given.name, device=given.device, workers=given.workers, batch_size=given.batch_size, store=store
        )
    except (CheckpointError, ValueError, OSError, SafetensorError) as error:
        print(f"archive.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except MemoryError:
        print(
            "archive.sh: memory ran out: a file is too large for this machine, or states a size that it does not have",
            file=sys.stderr,
        )
        return 1
    print(f"{store.name}/{path.name}: {given.model}, {path.stat().st_size / 2**20:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
