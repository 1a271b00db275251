"""Any text classifier of transformers (Wolf et al., EMNLP 2020 demos) that ``save_pretrained`` saved, by its folder.

The network's code is the library's; nothing in the folder is run (``trust_remote_code`` is never given). What the
other families of text networks share is here too: fitting weights, tokeniser and labels together, and checking that
the network can be integrated from its embedding layer on.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from intgrads.errors import CheckpointError, RequestError
from intgrads.labels import Labels
from intgrads.networks.family import Ingredients, Order
from intgrads.outputs import Outputs
from intgrads.texts.classifier import TextClassifier
from intgrads.texts.embeddings import (
    EmbeddingLayer,
    check_words_alone,
    find_embedding_layer,
    read_as_words,
    table_of_words,
)
from intgrads.texts.sentences import encode, tokenise
from intgrads.texts.spec import TextSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

PROBE = "The camera is not good, but I like it."
"""What the network is looked at with when the archive is made."""

RUNS = tuple(character * 2000 + "!" for character in "eE0 .-é好\n")
"""Texts at which regular expressions that are made to hurt do so: they are found before they are served."""

LONGEST_PROBE = 512
"""Tokens of it at most."""

SPARE_ROWS, LEAST_SPARE_ROWS = 0.1, 128
"""How many rows of a table of words may have no token: that part of the tokens, and so many more.

Tables are filled up to a multiple of 8 to 128, which is most in small ones, and keep room for tokens to come: 2 % in
Phi and DeepSeek, which is most of those that we know.
"""

NO_TOKEN = -1
"""Index of the padding token in networks that have none: every token of a text is then one of the text."""

_VOCABULARIES = ("tokenizer.json", "tekken.json", "vocab*", "*.model", "*.spm", "*.bpe", "*.tiktoken", "*.tokenizer")
"""Files that a tokeniser's vocabulary lies in, as transformers' classes name them."""

_WITHOUT = ("_name_or_path", "transformers_version")
"""Of a configuration: where it was read from and by whom."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Read something with transformers, without its reports; turn what it raises into a CheckpointError."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except CheckpointError:
        raise
    # Configurations and vocabularies of strangers fail in any way: with tokenizers a bare Exception.
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{what} cannot be read: {said}") from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_tokenizer(path: Path, kind: type[PreTrainedTokenizerBase] | None = None) -> PreTrainedTokenizerBase:
    """Read a tokeniser.

    Parameters
    ----------
    path : Path
        A folder saved by ``save_pretrained``, or one of its files: ``vocab.txt``, ``tokenizer.json`` or a SentencePiece
        model.
    kind : type, optional
        Class of the tokeniser that a single file is for.

    Raises
    ------
    CheckpointError
        If there is none, or a single file for a network that leaves the kind open.
    """
    from transformers import AutoTokenizer

    if not path.exists():
        raise CheckpointError(f"no such file or folder: {path}")
    if path.is_dir() and not any(file for name in _VOCABULARIES for file in path.glob(name)):
        # Of most, transformers would make up a vocabulary of a handful of special tokens.
        raise CheckpointError(
            f"{path} has no vocabulary of a tokeniser (no tokenizer.json, vocab.txt or the like); save the tokeniser "
            "that the network was trained with there, by its save_pretrained, or name its folder: --tokenizer FOLDER"
        )
    local = {"local_files_only": True, "trust_remote_code": False}
    with reading(f"the tokeniser {path}"):
        if path.is_dir():
            _check_paths(path)
            return AutoTokenizer.from_pretrained(path, **local)
        if kind is None:
            raise CheckpointError(f"--tokenizer {path}: name the folder that save_pretrained made, not a single file")
        # The class knows its files by their names.
        standard = {".txt": "vocab.txt", ".json": "tokenizer.json"}.get(path.suffix, "spiece.model")
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(path, Path(folder, standard))
            return kind.from_pretrained(folder, **local)


def _check_paths(folder: Path) -> None:
    """Raise a CheckpointError where a tokeniser is told to read its words from a file that is not in its folder.

    transformers takes a text for a path, and any file of this machine's would become part of the archive.
    """
    config = folder / "tokenizer_config.json"
    stated = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    for name in ("vocab", "merges"):
        if isinstance(stated, dict) and isinstance(stated.get(name), str):
            raise CheckpointError(f"{config} names a file as its {name}; a tokeniser's files lie in its folder")


def text_ingredients(
    order: Order,
    module: nn.Module,
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    labels: list[str],
    *,
    segments: bool,
    own_vocabulary: bool,
) -> Ingredients:
    """Fit a network, its tokeniser and its labels together and find where it is integrated from.

    Parameters
    ----------
    order : Order
    module : nn.Module
        With its weights.
    config : PreTrainedConfig
    tokenizer : PreTrainedTokenizerBase
    labels : list of str
    segments : bool
        Whether the network is given ``token_type_ids``.
    own_vocabulary : bool
        Whether the vocabulary must fill the network's table; else it must fit in.

    Raises
    ------
    CheckpointError
        If they do not fit, or the architecture is not supported.
    """
    module = module.float().eval().requires_grad_(False)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(f"{order.model}: its tokeniser has no tokenizer.json; save a fast tokeniser beside it")
    _check_vocabulary(order, module, backend.get_vocab(), own_vocabulary)
    named = {"pad": tokenizer.pad_token_id, "unk": tokenizer.unk_token_id, "mask": tokenizer.mask_token_id}
    named["period"] = backend.token_to_id(".")
    stated = (tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
    limits = [limit for limit in stated if limit is not None and limit > 0]
    spec = TextSpec(
        tokenizer=backend.to_str(),
        max_tokens=min([*limits, LONGEST_PROBE]),
        segments=segments,
        layer=EmbeddingLayer("", 0),
        tokens={name: index for name, index in named.items() if index is not None},
    )
    cutter = TextClassifier(module, spec, Labels(labels)).tokenizer
    try:
        found = tokenise(PROBE, cutter, spec.tokens.get("unk"), "PROBE")
        for run in RUNS:
            encode(run, cutter, "RUNS")
    except RequestError as error:
        raise CheckpointError(f"{order.model}: its tokeniser does not take plain texts: {error}") from None
    if found.ids.tolist() != tokenizer(PROBE)["input_ids"]:
        raise CheckpointError(f"{order.model}: the tokeniser's tokenizer.json gives other tokens than the tokeniser")
    inputs = spec.inputs(found)
    try:
        layer = find_embedding_layer(module, inputs)
        check_words_alone(module, layer, inputs, spec.tokens)
        tokens = read_as_words(module, layer, inputs, spec.tokens)
    except Exception as error:  # any network may be given, and its forward may do anything
        raise _not_attributed(order, module, error) from None
    with torch.no_grad():
        outputs = module(**{name: value[None] for name, value in inputs.items()}).logits.shape[1]
        most = _most_tokens(order, module, inputs, min([*limits, order.settings.max_tokens]))
    if outputs != len(labels):
        raise CheckpointError(f"{order.model} has {outputs} outputs and {len(labels)} labels; give one label an output")
    architecture = {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if k not in _WITHOUT}
    return Ingredients(
        architecture=architecture,
        weights={name: tensor.contiguous() for name, tensor in module.state_dict().items()},
        labels=labels,
        outputs=outputs_of(config),
        spec=TextSpec(spec.tokenizer, most, spec.segments, layer, tokens),
    )


def outputs_of(config: PreTrainedConfig) -> Outputs:
    """Return what a configuration of transformers says its outputs are; one alone, where it says nothing, is a number.

    transformers trains a network of one output for which no ``problem_type`` is stated by the squared error.
    """
    stated = {"regression": "none", "multi_label_classification": "sigmoid", "single_label_classification": "softmax"}
    named: Outputs | None = stated.get(getattr(config, "problem_type", None) or "")  # type: ignore[assignment]
    return named or ("none" if config.num_labels == 1 else "softmax")


def _not_attributed(order: Order, module: nn.Module, error: Exception) -> CheckpointError:
    config = getattr(module, "config", None)
    said = (str(error).strip() or "no reason given").splitlines()[0]
    if not isinstance(error, ValueError):
        said = f"it fails on a text ({type(error).__name__}: {said})"
    if getattr(config, "pad_token_id", None) == NO_TOKEN:
        said += "; its config.json names no pad_token_id: if it has one, add it there"
    kind = getattr(config, "model_type", type(module).__name__)
    return CheckpointError(f"{order.model}: texts of the architecture {kind!r} cannot be attributed here: {said}")


def _check_vocabulary(order: Order, module: nn.Module, vocabulary: dict[str, int], own: bool) -> None:
    try:
        rows = getattr(table_of_words(module), "num_embeddings", None)
    except ValueError as error:
        raise _not_attributed(order, module, error) from None
    words = max(vocabulary.values(), default=-1) + 1
    if rows is None:
        return
    if words > rows or (own and words != rows):
        raise CheckpointError(
            f"the tokeniser has {words} tokens and the network {rows}; give --tokenizer the file that the network was "
            "trained with"
        )
    if rows > words * (1 + SPARE_ROWS) + LEAST_SPARE_ROWS:
        raise CheckpointError(
            f"the tokeniser has {words} tokens and the network {rows}, which is more than the {SPARE_ROWS:.0%} and "
            f"{LEAST_SPARE_ROWS} rows that networks keep to spare: it is not the tokeniser that the network was "
            "trained with; give that one as --tokenizer FOLDER"
        )


def _most_tokens(order: Order, module: nn.Module, inputs: dict[str, Any], wanted: int) -> int:
    """Return how many tokens a network takes, at most those that are wanted: some keep places (RoBERTa two).

    Raises
    ------
    CheckpointError
        If the user wants more.
    """

    def takes(length: int) -> bool:
        longest = {name: value.repeat(-(-length // len(value)))[None, :length] for name, value in inputs.items()}
        try:
            module(**longest)
        except (IndexError, RuntimeError):
            return False
        return True

    if takes(wanted):
        return wanted
    most, too_many = len(inputs["input_ids"]), wanted
    while too_many - most > 1:
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if takes(middle) else (most, middle)
    if "max_tokens" in order.settings.model_fields_set:
        raise CheckpointError(
            f"{order.model} takes texts of {most} tokens at most, not of {wanted}; --set max_tokens={most}, or leave "
            "it out"
        )
    return most


class SequenceClassifiers:
    """``hf:DIR``."""

    def read(self, order: Order) -> Ingredients:
        """Read the folder; see :meth:`intgrads.networks.family.Family.read`."""
        from transformers import AutoConfig, AutoModelForSequenceClassification

        folder = Path(order.model.removeprefix("hf:"))
        if not folder.is_dir():
            raise CheckpointError(f"no such folder: {folder}")
        local = {"local_files_only": True, "trust_remote_code": False}
        with reading(str(folder)):
            config = AutoConfig.from_pretrained(folder, **local)
            module, report = AutoModelForSequenceClassification.from_pretrained(
                folder, config=config, dtype=torch.float32, output_loading_info=True, **local
            )
        check_report(report, folder)
        tokenizer = read_tokenizer(order.tokenizer or folder)
        named = config.id2label or {}
        if order.labels is None and not all(index in named for index in range(config.num_labels)):
            raise CheckpointError(
                f"{folder}: id2label of its config.json has gaps; name the outputs with --labels FILE"
            )
        labels = order.labels or [str(named[index]) for index in range(config.num_labels)]
        segments = "token_type_ids" in tokenizer.model_input_names
        module = in_batches(module)
        return text_ingredients(order, module, config, tokenizer, labels, segments=segments, own_vocabulary=False)

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """Return the network without weights; see :meth:`intgrads.networks.family.Family.build`."""
        from transformers import AutoConfig, AutoModelForSequenceClassification

        config = AutoConfig.for_model(**architecture)
        return in_batches(AutoModelForSequenceClassification.from_config(config))


def in_batches(module: Any) -> nn.Module:
    """Return a network that takes batches though it has no padding token, which transformers' classifiers refuse.

    They look for a text's last token by it. Texts here are never padded, and no token is :data:`NO_TOKEN`, so that the
    last is the last, even where it is the token that ends a text.
    """
    config = module.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = NO_TOKEN
    network: nn.Module = module
    return network


def check_report(report: dict[str, Any], path: Path) -> None:
    """Raise a CheckpointError where transformers' report of loading a file lists names that do not fit."""
    problems = []
    for kind in ("missing", "unexpected", "mismatched"):
        found = sorted(map(str, report.get(f"{kind}_keys") or ()))
        if found:
            problems.append(f"{len(found)} {kind}: {', '.join(found[:5])}{', …' if len(found) > 5 else ''}")
    if problems:
        raise CheckpointError(f"{path} does not hold a text classifier's weights\n  " + "\n  ".join(problems))
