"""Files of strangers, made to hurt whoever makes an archive of them: programs, bombs, and what never ends.

``python -m shared.strangers`` makes an archive of each, each in a process of its own that is bounded, and prints what
came of it, a line of JSON each. The process is a fork, as importing what all of them need takes seconds.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from intgrads.archives import archiver, bounded

from shared.detections import SHAPES, SHAPES_CONFIG
from shared.texts import plain_tokenizer, saved, small_bert

GIB = 2**30
TIMM = ["timm:resnet10t", "--weights"]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


# ------------------------------------------------------------------ checkpoints
def weights(name: str, content: bytes) -> Callable[[Path], list[str]]:
    """Return a maker of a checkpoint of some bytes."""

    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(content)
        return [*TIMM, str(folder / name)]

    return make


def trapped(name: str, write: Callable[[Path, Trap], object]) -> Callable[[Path], list[str]]:
    """Return a maker of a checkpoint that is a program, or has one in it."""

    def make(folder: Path) -> list[str]:
        write(folder / name, Trap(folder / "trap"))
        return [*TIMM, str(folder / name)]

    return make


def opcodes(*program: bytes) -> bytes:
    """Return a pickle that Python itself would not write."""
    return b"\x80\x02" + b"".join(program) + b"."


def laughing() -> bytes:
    """Return the opcodes of a tuple that holds one twice that holds one twice …: to look at it takes 2^64 steps."""
    return b")" + b"q\x00h\x00\x86" * 64


def stated(name: str, member: str, content: bytes, size: int) -> Callable[[Path], list[str]]:
    """Return a maker of a zip, one member of which states that it unpacks to a size."""

    def make(folder: Path) -> list[str]:
        torch.save({"a": torch.zeros(4)}, folder / "w.zip")
        with (
            zipfile.ZipFile(folder / "w.zip") as whole,
            zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as file,
        ):
            for one in whole.namelist() if name.endswith(".pth") else ():
                file.writestr(one, content if one == member else whole.read(one))
            if member not in file.namelist():
                file.writestr(member, content)
            file.getinfo(member).file_size = size
        return [*TIMM, str(folder / name)]

    return make


def npy(shape: tuple[int, ...]) -> bytes:
    """Return the head of an array's file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def npz(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "w.npz", "w") as file:
        file.writestr("a.npy", npy((2**40,)))
    return [*TIMM, str(folder / "w.npz")]


def zeros(folder: Path) -> list[str]:
    """Write a true bomb: half a gigabyte of zeros, forty times."""
    with zipfile.ZipFile(folder / "w.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("a.npy", npy((2**27,)) + bytes(2**29))
        packed = file.getinfo("a.npy")
        for k in range(39):
            again = zipfile.ZipInfo(f"a{k}.npy")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(again, field, getattr(packed, field))
            file.filelist.append(again)
    return [*TIMM, str(folder / "w.npz")]


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


def tensor(dtype: str, shape: list[int], end: int) -> bytes:
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()


def sparse_header(folder: Path) -> list[str]:
    """Write a file whose header has three gigabytes, which take no room on the disk."""
    with (folder / "w.safetensors").open("wb") as file:
        file.write(safetensors(b"{", 3 * GIB))
        file.truncate(3 * GIB + 8)
    return [*TIMM, str(folder / "w.safetensors")]


CHECKPOINTS: dict[str, Callable[[Path], list[str]]] = {
    "a program in a .pkl": trapped("w.pkl", lambda path, trap: path.write_bytes(pickle.dumps({"a": trap}))),
    "a program in a .pth": trapped("w.pth", lambda path, trap: torch.save({"a": trap}, path)),
    "a program in an old .pth": trapped(
        "w.pth", lambda path, trap: torch.save({"a": trap}, path, _use_new_zipfile_serialization=False)
    ),
    "a program that is called .bin": trapped(
        "w.bin", lambda path, trap: path.write_bytes(pickle.dumps(trap, protocol=0))
    ),
    "a program that is called .npz": trapped("w.npz", lambda path, trap: path.write_bytes(pickle.dumps(trap))),
    "a program that is called .safetensors": trapped(
        "w.safetensors", lambda path, trap: path.write_bytes(pickle.dumps(trap))
    ),
    "objects in a .npz": trapped("w.npz", lambda path, trap: np.savez(path, a=np.array([trap], dtype=object))),
    "objects in a .pkl": trapped(
        "w.pkl", lambda path, trap: path.write_bytes(pickle.dumps({"a": np.array([trap, 1], dtype=object)}))
    ),
    "an attribute set on an allowed class": weights("w.pkl", opcodes(b"cnumpy\nndarray\n}X\3\0\0\0sumK\1s\x86b")),
    "a codec that is looked up": weights(
        "w.pkl", opcodes(b"}X\1\0\0\0ac_codecs\nencode\nX\1\0\0\0aX\x09\0\0\0bz2_codec\x86Rs")
    ),
    "numpy's own loader of pickles": weights("w.pkl", opcodes(b"cnumpy\nload\nX\1\0\0\0a\x85R")),
    "builtins by a dotted name": weights("w.pkl", opcodes(b"\x80\x04\x8c\x05numpy\x8c\x09f2py.os.x\x93)R")),
    "a .pkl that states an array of 8 TiB": weights(
        "w.pkl", opcodes(b"}X\1\0\0\0acnumpy\nndarray\n\x8a\x06\0\0\0\0\0\1\x85\x85Rs")
    ),
    "a .pkl that states a text of 2^62 bytes": weights("w.pkl", opcodes(b"\x8e" + struct.pack("<Q", 2**62))),
    "a .pkl that counts to its thousand millionth": weights("w.pkl", opcodes(b"Nr\xff\xff\xff\x3f")),
    "a .pkl as deep as it is long": weights("w.pkl", opcodes(b"N" + b"\x85" * 500_000)),
    "a .pkl that laughs": weights("w.pkl", opcodes(b"}" + laughing() + b"K\1s")),
    "a .pth that laughs": weights("w.pth", opcodes(b"}" + laughing() + b"K\1s")),
    "a .pkl that laughs as a value": weights("w.pkl", opcodes(b"}K\1" + laughing() + b"s")),
    "a .npz that states an array of 4 TiB": npz,
    "a .npz of forty times half a gigabyte": zeros,
    "a .npz that states to unpack to 40 GiB": stated("w.npz", "a.npy", npy((10 * GIB,)), 40 * GIB),
    "a .pth that states to unpack to 40 GiB": stated("w.pth", "w/data/0", bytes(2**26), 40 * GIB),
    "a header of three gigabytes": sparse_header,
    "a header of 2^63 bytes": weights("w.safetensors", safetensors(b"{}", 2**63)),
    "a header of a hundred thousand tensors of nothing": weights(
        "w.safetensors",
        safetensors(
            json.dumps({str(k): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(10**5)}).encode()
        ),
    ),
    "a header that is deep": weights("w.safetensors", safetensors(b'{"a":' + b"[" * 10**6)),
    "a tensor beyond the file": weights("w.safetensors", safetensors(tensor("F32", [2**40], 2**42))),
    "a tensor of 2^126 numbers": weights("w.safetensors", safetensors(tensor("F32", [2**63, 2**63], 4))),
    "a tensor of no numbers, 2^62 times": weights("w.safetensors", safetensors(tensor("F32", [0, 2**62], 0))),
    "one number as a million million": trapped(
        "w.pth", lambda path, _: torch.save({"conv1.0.weight": torch.zeros(1).expand(10**6, 10**6)}, path)
    ),
    "labels that are deep": lambda folder: with_labels(folder, "[" * 10**6),
    "labels with a number of a million digits": lambda folder: with_labels(folder, f"[{'9' * 10**6}]"),
}  # fmt: skip
"""By what is wrong: what writes the files into an empty folder, and returns the archiver's arguments.

Where one of them is run, it makes a folder called ``trap`` in that one.
"""


def with_labels(folder: Path, labels: str) -> list[str]:
    (folder / "labels.json").write_text(labels)
    return [*TIMM, str(folder / "w.pth"), "--labels", str(folder / "labels.json")]


# ------------------------------------------------------------------ folders of transformers
PROGRAM = "from pathlib import Path\nPath(__file__).with_name('trap').mkdir()\n"


def bert(**files: dict[str, Any]) -> Callable[[Path], list[str]]:
    """Return a maker of a folder that is well, but for what is set in its files; each is called by its stem."""

    def make(folder: Path) -> list[str]:
        saved(folder, small_bert(), plain_tokenizer())
        (folder / "evil.py").write_text(PROGRAM)
        for stem, changes in files.items():
            path = folder / f"{stem}.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return [f"hf:{folder}"]

    return make


def overwritten(name: str, content: bytes) -> Callable[[Path], list[str]]:
    """Return a maker of a folder, one file of which holds something else."""

    def make(folder: Path) -> list[str]:
        saved(folder, small_bert(), plain_tokenizer())
        (folder / name).write_bytes(content)
        return [f"hf:{folder}"]

    return make


def instead(folder: Path) -> list[str]:
    """Write a program where transformers looks for weights."""
    saved(folder, small_bert(), plain_tokenizer())
    (folder / "model.safetensors").unlink()
    torch.save({"a": Trap(folder / "trap")}, folder / "pytorch_model.bin")
    return [f"hf:{folder}"]


def splitting(pattern: str) -> dict[str, Any]:
    """Return a step of a tokeniser that splits by a regular expression."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replacing(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


AUTO = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
FOLDERS: dict[str, Callable[[Path], list[str]]] = {
    "auto_map of an unknown architecture": bert(config={"auto_map": AUTO, "model_type": "evil"}),
    "auto_map of another's repository": bert(
        config={"auto_map": {"AutoConfig": "someone/evil--evil.Config"}, "model_type": "evil"}
    ),
    "auto_map of a tokeniser": bert(
        tokenizer_config={"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}, "tokenizer_class": "Evil"}
    ),
    "a program for weights": instead,
    "a configuration that is deep": overwritten("config.json", b'{"a":' * 10**6),
    "a configuration that is a list": overwritten("config.json", b"[]"),
    "a tokeniser that is deep": overwritten("tokenizer.json", b'{"a":' * 10**6),
    "a tokeniser of nulls": overwritten("tokenizer.json", bytes(10**6)),
    "a header of weights that is too long": overwritten("model.safetensors", safetensors(b"{", 2**40)),
    "a thousand million layers": bert(config={"num_hidden_layers": 10**9}),
    "a thousand million labels": bert(config={"id2label": None, "num_labels": 10**9}),
    "a thousand million words": bert(config={"vocab_size": 10**9}),
    "states of a thousand million numbers": bert(config={"hidden_size": 10**9}),
    "10^30 places": bert(config={"max_position_embeddings": 10**30}),
    "fewer than no layers": bert(config={"num_hidden_layers": -1, "hidden_size": -16}),
    "a quantisation": bert(config={"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}),
    "a text for a size": bert(config={"hidden_size": "__import__('os').mkdir('trap')"}),
    "words from a file of this machine": bert(tokenizer_config={"vocab": "/etc/passwd"}),
    "a regular expression that never ends": bert(tokenizer={"pre_tokenizer": splitting("(e+)+$")}),
    "a regular expression that never ends on a long word": bert(
        tokenizer={"pre_tokenizer": splitting("(0|00)+b")}
    ),
    "a regular expression that is none": bert(tokenizer={"pre_tokenizer": splitting("(((")}),
    "a tokeniser that leaves nothing": bert(
        tokenizer={"normalizer": {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}}
    ),
    "a normaliser that doubles sixty times": bert(
        tokenizer={"normalizer": {"type": "Sequence", "normalizers": [replacing("e", "ee")] * 60}}
    ),
    "a tokeniser that fills up to 10^12 tokens": bert(
        tokenizer={
            "padding": {
                "strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "[PAD]",
            }
        }
    ),
    "an added token of index 2^32 - 1": bert(
        tokenizer={
            "added_tokens": [
                {"id": 2**32 - 1, "content": "x", "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": False}
            ]
        }
    ),
}  # fmt: skip


# ------------------------------------------------------------------ configurations of a TensorMask
def config(text: str) -> Callable[[Path], list[str]]:
    """Return a maker of a configuration that is read before the weights, which are well."""

    def make(folder: Path) -> list[str]:
        (folder / "c.yaml").write_text(text.replace("FOLDER", str(folder)))
        return ["tensormask", "--tensormask", str(SHAPES), "--tensormask-config", str(folder / "c.yaml")]

    return make


LAUGHING = "\n".join([f"l{k}: &l{k} {{{', '.join(f'k{i}: *l{k - 1}' for i in range(9))}}}" for k in range(1, 12)])
GOOD_CONFIG = SHAPES_CONFIG.read_text()
CONFIGS: dict[str, Callable[[Path], list[str]]] = {
    "a tag that is a program": config("MODEL: !!python/object/apply:os.mkdir ['FOLDER/trap']"),
    "a tag in a base": config("_BASE_: other.yaml\nMODEL: !!python/object/new:os.mkdir {args: ['FOLDER/trap']}"),
    "a tag of a tuple's subclass": config("MODEL: {WEIGHTS: !!python/name:os.system }"),
    "a base from the network": config("_BASE_: http://127.0.0.1:9/c.yaml"),
    "a base outside its folder": config("_BASE_: ../../../../etc/passwd"),
    "a base that is itself": config("_BASE_: c.yaml"),
    "aliases that laugh": config(f"l0: &l0 {{a: b}}\n{LAUGHING}\n{GOOD_CONFIG}"),
    "lists as deep as they are long": config("MODEL: " + "[" * 100_000),
    "a thousand million convolutions": config(GOOD_CONFIG.replace("NUM_CONVS: 2", "NUM_CONVS: 1000000000")),
    "a million million classes": config(GOOD_CONFIG.replace("NUM_CLASSES: 3", "NUM_CLASSES: 1000000000000")),
    "fewer than no classes": config(GOOD_CONFIG.replace("NUM_CLASSES: 3", "NUM_CLASSES: -5")),
    "pictures of a thousand million rows": config(
        GOOD_CONFIG.replace("MIN_SIZE_TEST: 128", "MIN_SIZE_TEST: 1000000000").replace("256\n", "1000000000\n")
    ),
    "windows without a size": config(GOOD_CONFIG.replace("[32, 44]", "[.nan, .inf]")),
    "a backbone of another's": config(GOOD_CONFIG.replace("build_resnet_fpn_backbone", "os.system")),
}

HURT = CHECKPOINTS | FOLDERS | CONFIGS

HARMLESS = {"auto_map of a tokeniser", "a tokeniser that fills up to 10^12 tokens"}
"""Of these an archive is made: what is made to hurt in them is passed over."""

ENDED = {
    "a .pkl that laughs", "a .pth that laughs", "a thousand million layers", "a thousand million labels",
    "a thousand million convolutions", "a normaliser that doubles sixty times",
}  # fmt: skip
"""These are not refused for what they are: the bounds of the process end them, if nothing else does before."""

SECONDS, MEMORY = 3, 3 * GIB
"""Of a processor, and bytes beside what is there before, that each may take here; the command itself allows more."""


def attempt(make: Callable[[Path], list[str]]) -> dict[str, Any]:
    """Make an archive of the files that a maker writes, in a bounded process; return what came of it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, store = Path(temporary, "files"), Path(temporary, "store")
        folder.mkdir()
        arguments = make(folder)
        child = os.fork()
        if not child:
            said = os.open(Path(temporary, "said"), os.O_WRONLY | os.O_CREAT)
            os.dup2(said, sys.stdout.fileno())
            os.dup2(said, sys.stderr.fileno())
            status = 99  # of what the archiver lets through
            try:
                bounded.bound(MEMORY, SECONDS)
                status = archiver.main(arguments, store)
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, ended, used = os.wait4(child, 0)
        return {
            "status": os.waitstatus_to_exitcode(ended),
            "said": Path(temporary, "said").read_text(errors="replace")[-2000:],
            "ran": (folder / "trap").exists() or Path("trap").exists(),
            "archives": [path.name for path in store.glob("*")],
            "mebibytes": used.ru_maxrss // 1024,
        }


def main() -> None:
    """Try all of them."""
    # What their networks need, imported before the forks; one thread, as a fork has no others.
    for needed in ("archives.archive", "detections.detectron"):
        import_module(f"intgrads.{needed}")
    import_module("transformers.models.bert.modeling_bert")
    torch.set_num_threads(1)
    for name, make in HURT.items():
        print(json.dumps({"name": name, **attempt(make)}), flush=True)


if __name__ == "__main__":
    main()
