"""A checkpoint of text becomes an archive of the very same logits, or an error; never another network in silence."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
import transformers
from intgrads.archives import archiver
from intgrads.archives.archive import open_archive
from intgrads.archives.names import LABELS, MANIFEST, WEIGHTS
from intgrads.networks import bert, xlnet
from intgrads.texts.classifier import TextClassifier
from intgrads.texts.spec import TOKENIZER
from safetensors.torch import load_file, save_file
from shared.texts import VOCABULARY, saved, small_bert, small_bert_tokenizer, small_xlnet
from torch import Tensor, nn

TEXT = "The camera isn't good, but I like it!"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "model_store"


def run(store: Path, *arguments: object) -> int:
    return archiver.main([str(a) for a in arguments], store)


def unpacked(store: Path, folder: Path) -> TextClassifier:
    with zipfile.ZipFile(store / "intgrads.mar") as mar:
        names = mar.namelist()
        assert {MANIFEST, LABELS, WEIGHTS, TOKENIZER, "handler.py"} <= set(names)
        assert not [name for name in names if name.endswith((".pth", ".pt", ".pkl", ".bin"))]
        mar.extractall(folder)
    network = open_archive(folder, torch.device("cpu")).network
    assert isinstance(network, TextClassifier)
    assert not network.module.training
    assert not any(parameter.requires_grad for parameter in network.module.parameters())
    return network


def logits(network: TextClassifier, **inputs: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.module(**inputs).logits
    return found


def test_a_folder_of_save_pretrained(store: Path, tmp_path: Path) -> None:
    model, tokenizer = small_bert(), small_bert_tokenizer()
    folder = saved(tmp_path / "saved", model, tokenizer)
    assert run(store, f"hf:{folder}", "--set", "max_tokens=20") == 0
    network = unpacked(store, tmp_path / "mar")
    inputs = tokenizer(TEXT, return_tensors="pt")
    torch.testing.assert_close(logits(network, input_ids=inputs["input_ids"]), model(**inputs).logits)
    assert list(network.labels) == ["negative", "positive", "mixed"]
    assert network.text.max_tokens == 20
    assert network.tokenizer.encode(TEXT).ids == inputs["input_ids"][0].tolist()
    assert str(tmp_path) not in (tmp_path / "mar" / MANIFEST).read_text()


def old_bert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Tensor], Path]:
    """Return a checkpoint of the earlier server's names, and the vocabulary; of a small size instead of base."""
    model = small_bert()
    config = model.config
    for name in bert.BASE:
        monkeypatch.setitem(bert.BASE, name, getattr(config, name))
    weights = {}
    for name, tensor in model.state_dict().items():
        renamed = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        weights[renamed] = tensor[:2].clone() if name.startswith("classifier") else tensor
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return weights, tmp_path / "vocab.txt"


def test_the_old_bert_reads_cls_directly_whatever_the_pooler_holds(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, vocabulary = old_bert(tmp_path, monkeypatch)
    torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, tmp_path / "bert.pth")
    assert run(store, "bert", "--weights", tmp_path / "bert.pth", "--tokenizer", vocabulary) == 0
    network = unpacked(store, tmp_path / "mar")
    ids = torch.tensor([small_bert_tokenizer()(TEXT)["input_ids"]])
    stock = small_bert()
    with torch.no_grad():
        states = stock.bert(ids).last_hidden_state[:, 0]
        expected = states @ weights["classifier.weight"].T + weights["classifier.bias"]
        pooled = stock(ids).logits[:, :2]
    torch.testing.assert_close(logits(network, input_ids=ids), expected)
    assert not torch.allclose(expected, pooled)
    assert list(network.labels) == ["negative", "positive"]
    assert not any("pooler" in name for name in load_file(tmp_path / "mar" / WEIGHTS))


def without_its_last(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(list(weights.items())[:-1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: {n.replace("gamma", "weight").replace("beta", "bias"): t for n, t in w.items()}, "hf:DIR"),
        (without_its_last, "1 missing: classifier.bias"),
        (lambda w: {**w, "bert.encoder.layer.9.more": torch.ones(1)}, "1 unexpected: bert.encoder.layer.9.more"),
        (lambda w: {**w, "classifier.weight": torch.ones(3, 16)}, "expected (2, 16)"),
        (lambda w: {**w, "classifier.bias": torch.tensor([0.0, torch.nan])}, "not finite"),
    ],
)
def test_an_old_bert_that_does_not_fit_is_refused(
    change: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    weights, vocabulary = old_bert(tmp_path, monkeypatch)
    torch.save(change(weights), tmp_path / "bert.pth")
    store = tmp_path / "model_store"
    assert run(store, "bert", "--weights", tmp_path / "bert.pth", "--tokenizer", vocabulary) == 1
    assert words in capsys.readouterr().err
    assert not list(store.glob("*.mar"))


def test_another_vocabulary_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """By default it is that of bert-base-uncased, which the demo's package brings."""
    weights, _ = old_bert(tmp_path, monkeypatch)
    torch.save(weights, tmp_path / "bert.pth")
    assert run(store, "bert", "--weights", tmp_path / "bert.pth") == 1
    assert f"30522 tokens and the network {len(VOCABULARY)}" in capsys.readouterr().err


SAID = "the camera is not good but i like it really film bad and well then again"


def spiece(folder: Path) -> Path:
    """Train a SentencePiece model of XLNet's special pieces on a few sentences."""
    words = SAID.split() * 30
    (folder / "text.txt").write_text("\n".join(" ".join(words[k : k + 7]) for k in range(300)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "spiece"), vocab_size=60, model_type="unigram",
        control_symbols=["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"], pad_id=-1, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    return folder / "spiece.model"


@pytest.mark.parametrize("size", ["xlnet-base", "xlnet-large"])
def test_xlnet_with_the_users_sentencepiece_file(
    size: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = spiece(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    stock = small_xlnet()
    config = stock.config
    config.num_labels, config.vocab_size = 2, len(pieces)
    torch.manual_seed(1)
    stock = transformers.XLNetForSequenceClassification(config).eval()
    small = {name: getattr(config, name) for name in xlnet.SIZES[size]}
    monkeypatch.setitem(xlnet.SIZES, size, {**small, "vocab_size": len(pieces)})
    torch.save({f"module.{name}": tensor for name, tensor in stock.state_dict().items()}, tmp_path / "x.pth")
    assert run(store, size, "--weights", tmp_path / "x.pth", "--tokenizer", model) == 0
    network = unpacked(store, tmp_path / "mar")
    encoding = network.tokenizer.encode("the camera is not good")
    special = [pieces.piece_to_id("<sep>"), pieces.piece_to_id("<cls>")]
    assert encoding.ids == pieces.encode("the camera is not good") + special
    assert encoding.type_ids == [0] * (len(encoding.ids) - 1) + [2]
    inputs = {"input_ids": torch.tensor([encoding.ids]), "token_type_ids": torch.tensor([encoding.type_ids])}
    torch.testing.assert_close(logits(network, **inputs), stock(**inputs).logits)
    assert network.text.segments
    assert network.text.layer.name == "transformer.word_embedding"
    assert network.text.tokens["pad"] == pieces.piece_to_id("<pad>")


class Foreign(nn.Module):
    """A network that no library knows."""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bert"], "--weights"),
        (["bert", "--weights", "none.pth"], "no such file"),
        (["xlnet-base", "--weights", "{bert}/model.safetensors"], "needs --tokenizer PATH"),
        (["xlnet-base", "--weights", "{bert}/model.safetensors", "--tokenizer", "none"], "does not fit the network"),
        (["hf:nowhere"], "no such folder"),
        (["hf:{empty}"], "cannot be read"),
        (["hf:{bert}", "--weights", "x.pth"], "its folder brings the weights"),
        (["hf:{bert}", "--tokenizer", "{bert}/tokenizer.json"], "the folder"),
        (["hf:{bert}", "--tokenizer", "nowhere"], "no such file or folder"),
        (["hf:{bert}", "--labels", "{two}"], "3 outputs"),
        (["hf:{bare}"], "classifier.weight"),
        (["hf:{unknown}"], "cannot be read"),
        (["hf:{code}"], "cannot be read"),
        (["hf:{damaged}"], "cannot be read"),
        (["hf:{encoder_decoder}"], "'bart'"),
        (["demo-text", "--labels", "{two}"], "brings its own"),
        (["demo-image", "--tokenizer", "{bert}"], "takes no --tokenizer PATH: it brings its own"),
        (["hf:{bert}", "--set", "max_tokens=2"], "max_tokens"),
        (["hf:{bert}", "--set", "devices=gpu"], "devices"),
    ],
)
def test_what_cannot_be_served_is_told_and_nothing_is_written(
    arguments: list[str], words: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "bert", small_bert(), small_bert_tokenizer())
    places = {name: tmp_path / name for name in ("empty", "bare", "unknown", "code", "damaged", "encoder_decoder")}
    places["empty"].mkdir()
    for name in ("unknown", "code", "damaged"):
        shutil.copytree(folder, places[name])
    saved(places["bare"], small_bert().bert, small_bert_tokenizer())
    config = json.loads((folder / "config.json").read_text())
    (places["unknown"] / "config.json").write_text(json.dumps({**config, "model_type": "foreign"}))
    mapped = {**config, "model_type": "foreign", "auto_map": {"AutoConfig": "evil.Config"}}
    (places["code"] / "config.json").write_text(json.dumps(mapped))
    (places["code"] / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    (places["damaged"] / "model.safetensors").write_bytes(b"no weights")
    if "encoder_decoder" in "".join(arguments):
        small = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
        options = {**small, **heads, "vocab_size": 60, "eos_token_id": 3, "pad_token_id": 0}
        bart = transformers.BartForSequenceClassification(transformers.BartConfig(**options))
        saved(places["encoder_decoder"], bart, small_bert_tokenizer())
    (tmp_path / "two").write_text("cat\ndog\n")
    names = {"bert": folder, "two": tmp_path / "two", **places}
    assert run(store, *(argument.format(**names) for argument in arguments)) == 1
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert not list(store.glob("*.mar"))
    assert not (tmp_path / "ran").exists()


def test_weights_that_do_not_fit_a_folders_network_are_listed(store: Path, tmp_path: Path, capsys: Any) -> None:
    folder = saved(tmp_path / "bert", small_bert(), small_bert_tokenizer())
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.more"] = weights.pop("bert.encoder.layer.1.output.dense.bias")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert run(store, f"hf:{folder}") == 1
    message = capsys.readouterr().err
    assert "1 missing: bert.encoder.layer.1.output.dense.bias" in message
    assert "1 unexpected: bert.encoder.more" in message


ALONE = """
import socket, sys
def refuse(*_, **__): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from pathlib import Path
import torch
from intgrads.call import Call
from intgrads.service import Service
service = Service.load(Path(sys.argv[1]), torch.device("cpu"))
reply = service.answer([Call(form={"sequence": b"the camera is good"}, accept="application/json")])[0]
print(reply.status, sorted({"transformers", "tokenizers"} & set(sys.modules)))
"""


def test_a_server_of_text_asks_no_network_and_one_of_pictures_imports_no_transformers(
    store: Path, tmp_path: Path, tiny: Path
) -> None:
    folder = saved(tmp_path / "bert", small_bert(), small_bert_tokenizer())
    assert run(store, f"hf:{folder}") == 0
    unpacked(store, tmp_path / "text")
    shutil.rmtree(folder)
    picture = ("--weights", tiny / "w.pth", "--labels", tiny / "labels.txt", "--name", "pictures")
    assert run(store, "timm:resnet10t", *picture) == 0
    with zipfile.ZipFile(store / "pictures.mar") as mar:
        mar.extractall(tmp_path / "pictures")
    said = {}
    for name in ("text", "pictures"):
        command = [sys.executable, "-c", ALONE, str(tmp_path / name)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"PYTHONPATH": "handler", "HOME": str(tmp_path)}
        )
        said[name] = done.stdout.strip()
    assert said == {"text": "200 ['tokenizers', 'transformers']", "pictures": "415 []"}
