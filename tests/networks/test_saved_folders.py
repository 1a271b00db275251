"""A folder of save_pretrained is served as what it is, or it is said what is wrong with it and what to do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from intgrads.archives import archiver
from shared.texts import (
    LABELS,
    VOCABULARY,
    plain_tokenizer,
    prepared,
    saved,
    service_of,
    small_bert,
    small_bert_tokenizer,
    small_xlnet,
)
from shared.toys import json_call, refused, told
from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXT = "The camera is not good, but I like it."
END = plain_tokenizer(pad=None).convert_tokens_to_ids("[SEP]")  # which stands at the end of each text


def small_gpt2(**options: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=END, eos_token_id=END,
        initializer_range=0.3, id2label=LABELS, **options,
    )  # fmt: skip
    return transformers.GPT2ForSequenceClassification(config).eval()


def why_refused(capsys: Any, folder: Path, *arguments: object) -> str:
    store = folder.parent / "model_store"
    assert archiver.main([f"hf:{folder}", *map(str, arguments)], store) == 1
    assert not list(store.glob("*.mar"))
    message: str = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("text", [TEXT, "good [SEP]", "[SEP] good [SEP] [SEP]"])
def test_a_network_without_a_padding_token_reads_a_texts_last_token_whatever_it_is(text: str, tmp_path: Path) -> None:
    """Its end token in place of padding would have it read the last token but one."""
    model, tokenizer = small_gpt2(), plain_tokenizer(pad=None)
    assert model.config.pad_token_id is None
    service = service_of(prepared(saved(tmp_path, model, tokenizer)))
    fields = ["output", "baseline_output", "intermediate_gradients"]
    ask = {"sequence": text, "format": "json", "n_steps": 3, "fields": fields}
    answer = told(service.answer([json_call(**ask, baseline="unk")])[0])
    assert answer["input_ids"][-1] == END
    with torch.no_grad():
        np.testing.assert_allclose(answer["output"], model(torch.tensor([answer["input_ids"]])).logits, atol=1e-5)
    # The answer is read at the last place, so that each place before it and that one have a gradient.
    assert np.abs(answer["intermediate_gradients"]).sum((0, 2)).all()
    refused(service.answer([json_call(**ask, baseline="pad")])[0], 400, "no word for 'pad'; choose one of unk")
    assert told(service.answer([json_call(**ask)])[0])["baseline"] == "zero"


def test_a_network_that_needs_the_padding_token_which_its_config_lacks(tmp_path: Path, capsys: Any) -> None:
    config = transformers.RobertaConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        pad_token_id=None, id2label=LABELS,
    )  # fmt: skip
    model = transformers.RobertaForSequenceClassification(config)
    assert "pad_token_id: if it has one, add it" in why_refused(
        capsys, saved(tmp_path / "roberta", model, plain_tokenizer())
    )


def test_a_network_without_a_table_of_words(tmp_path: Path, capsys: Any) -> None:
    config = transformers.CanineConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_hash_buckets=32,
        max_position_embeddings=64, id2label=LABELS,
    )  # fmt: skip
    folder = saved(tmp_path / "canine", transformers.CanineForSequenceClassification(config), plain_tokenizer())
    assert "'canine' cannot be attributed here: it names no table of words" in why_refused(capsys, folder)


@pytest.mark.parametrize("value", [float("nan"), 1e38])
def test_a_network_whose_outputs_are_not_finite(value: float, tmp_path: Path, capsys: Any) -> None:
    model = small_bert()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[0] = value
        model.classifier.weight[:] = value
    folder = saved(tmp_path / "bert", model, small_bert_tokenizer())
    assert "its outputs are not finite numbers" in why_refused(capsys, folder)


MODELS: dict[str, Any] = {"bert": small_bert, "gpt2": small_gpt2, "xlnet": small_xlnet}


@pytest.mark.parametrize("leave", [False, True], ids=["nothing", "its configuration alone"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_folder_without_a_vocabulary(kind: str, leave: bool, tmp_path: Path, capsys: Any) -> None:
    """Transformers makes up one of a handful of special tokens, and every word is unknown."""
    folder = saved(tmp_path / kind, MODELS[kind](), plain_tokenizer())
    (folder / "tokenizer.json").unlink()
    if leave:
        named = {"tokenizer_class": {"bert": "BertTokenizer", "gpt2": "GPT2Tokenizer", "xlnet": "XLNetTokenizer"}[kind]}
        (folder / "tokenizer_config.json").write_text(json.dumps(named))
    else:
        (folder / "tokenizer_config.json").unlink()
    assert sorted(path.name for path in folder.iterdir())[:2] == ["config.json", "model.safetensors"]
    message = why_refused(capsys, folder)
    assert "no vocabulary" in message
    assert "--tokenizer FOLDER" in message


def test_a_tokeniser_beside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    small_bert().save_pretrained(folder)
    small_bert_tokenizer().save_pretrained(tmp_path / "tokeniser")
    arguments = [f"hf:{folder}", "--tokenizer", str(tmp_path / "tokeniser")]
    assert archiver.main(arguments, tmp_path / "model_store") == 0


def with_rows(rows: int) -> PreTrainedModel:
    model = small_bert()
    config = model.config
    config.vocab_size = rows
    return transformers.BertForSequenceClassification(config)


SPARE = int(len(VOCABULARY) * 1.1) + 128


@pytest.mark.parametrize("rows", [len(VOCABULARY), 128, SPARE])
def test_a_table_with_rows_to_spare_is_served(rows: int, tmp_path: Path) -> None:
    assert prepared(saved(tmp_path, with_rows(rows), small_bert_tokenizer())).spec


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (len(VOCABULARY) - 1, "trained with"),
        (SPARE + 1, "more than the 10% and 128 rows that networks keep to spare"),
        (30522, "give that one as --tokenizer FOLDER"),
    ],
)
def test_another_networks_vocabulary_is_refused(rows: int, words: str, tmp_path: Path, capsys: Any) -> None:
    message = why_refused(capsys, saved(tmp_path / "bert", with_rows(rows), small_bert_tokenizer()))
    assert f"the tokeniser has {len(VOCABULARY)} tokens and the network {rows}" in message
    assert words in message


def gapped() -> PreTrainedTokenizerBase:
    """Return a tokeniser that counts on from beyond a gap, as that of a network with reserved rows does."""
    tokenizer = small_bert_tokenizer()
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["model"]["vocab"]["zebra"] = 60
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(content))
    return tokenizer


@pytest.mark.parametrize("rows", [60, 61])
def test_the_largest_index_counts_not_the_number_of_tokens(rows: int, tmp_path: Path, capsys: Any) -> None:
    folder = saved(tmp_path / "bert", with_rows(rows), gapped())
    if rows == 60:
        assert "the tokeniser has 61 tokens and the network 60" in why_refused(capsys, folder)
    else:
        assert prepared(folder).spec


def small_roberta() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a RoBERTa of 64 positions, of which its texts have 62, and a tokeniser that does not say so."""
    tokenizer = plain_tokenizer(pad=1)
    tokenizer.model_max_length = 10**30
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=1, id2label=LABELS,
    )  # fmt: skip
    return transformers.RobertaForSequenceClassification(config).eval(), tokenizer


def test_a_network_that_keeps_positions_for_itself_takes_fewer_tokens(tmp_path: Path, capsys: Any) -> None:
    folder = saved(tmp_path / "roberta", *small_roberta())
    service = service_of(prepared(folder))
    assert service.describe()["max_tokens"] == 62
    answer = told(service.answer([json_call(sequence="good " * 100, format="json", n_steps=2)])[0])
    assert len(answer["tokens"]) == 62
    message = why_refused(capsys, folder, "--set", "max_tokens=64")
    assert "takes texts of 62 tokens at most, not of 64; --set max_tokens=62" in message
    assert prepared(folder, max_tokens=20).spec.stated()["max_tokens"] == 20


@pytest.mark.parametrize("most", [3, 9])
def test_short_texts_are_all_that_some_archives_take(most: int, tmp_path: Path) -> None:
    service = service_of(prepared(saved(tmp_path, small_bert(), small_bert_tokenizer()), max_tokens=most))
    answer = told(service.answer([json_call(sequence="good " * 20, format="json", n_steps=2)])[0])
    assert len(answer["tokens"]) == most


def test_labels_with_gaps_are_told(tmp_path: Path, capsys: Any) -> None:
    folder = saved(tmp_path / "bert", small_bert(), small_bert_tokenizer())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "a", "2": "b", "5": "c"}}))
    assert "id2label of its config.json has gaps; name the outputs with --labels" in why_refused(capsys, folder)
