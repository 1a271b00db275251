"""A long text stays within the memory budget, and the answer does not depend on how it was cut into batches."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from shared.texts import bert_service, xlnet_service
from shared.toys import json_call, told

TEXT = "the camera is not good , but i like it . " * 3


@pytest.mark.parametrize("make", [bert_service, xlnet_service], ids=["bert", "xlnet"])
def test_rows_are_measured_for_each_length_and_longer_texts_get_fewer(make: Any) -> None:
    service = make()
    for text in ("good", "the camera is not good", TEXT):
        assert service.answer([json_call(sequence=text)])[0].status == 200
    memory = [memory.saved for _, memory in sorted(service._row_memory.items())]
    assert len(memory) == 3
    assert memory == sorted(memory)
    assert memory[-1] > 4 * memory[0]


@pytest.mark.parametrize("make", [bert_service, xlnet_service], ids=["bert", "xlnet"])
def test_any_number_of_rows_gives_the_same_to_rounding(make: Any) -> None:
    service = make()
    ask = json_call(sequence=TEXT, format="json", fields=["integrated_gradients", "intermediate_gradients"], n_steps=20)
    whole = told(service.answer([ask])[0])
    for rows in (1, 3, 8):
        service.chunk_rows = rows
        cut = told(service.answer([ask])[0])
        for name in ("integrated_gradients", "intermediate_gradients"):
            expected, found = np.array(whole[name]), np.array(cut[name])
            assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


PEAK = """
from pathlib import Path
import torch
from intgrads.texts.embeddings import EmbeddingLayer
from intgrads.labels import Labels
from intgrads.networks.bert import cls_classifier
from intgrads.texts.classifier import TextClassifier
from intgrads.texts.spec import TextSpec
from intgrads.speed.preparation import prepare_linear
from intgrads.call import Call
from intgrads.service import Service
from intgrads.settings import Settings
from shared.texts import small_bert_tokenizer
from transformers import BertConfig

# Linux's own account of this process: getrusage would begin with the peak of the one that started it.
def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024

torch.manual_seed(0)
network = prepare_linear(cls_classifier(BertConfig()).eval(), torch.device("cpu"))
tokenizer = small_bert_tokenizer().backend_tokenizer.to_str()
text = TextSpec(tokenizer, 512, True, EmbeddingLayer("bert.embeddings", 768), {"pad": 0})
settings = Settings.model_validate({"memory_budget_mb": 1536, "n_steps": 2})
service = Service("base", TextClassifier(network, text, Labels(["n", "p"])), settings, torch.device("cpu"))

def ask(words):
    reply = service.answer([Call({"sequence": "good " * words, "format": "json"})])[0]
    assert reply.status == 200, reply.body
    return reply

ask(3)
before = peak()
ask(600)
print(peak() - before, max(service._row_memory.values()) // 2**20)
"""


@pytest.mark.slow
def test_base_size_at_512_tokens_grows_by_no_more_than_its_budget() -> None:
    """Peak resident memory of a process of its own; two steps, x and x' fill a batch, as 50 steps would many."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": "handler:tests"},
    )  # fmt: skip
    grown, row = map(int, done.stdout.split())
    assert row > 100, "a row of 512 tokens is measured as what it is"
    assert 4 * row < grown <= 1536, f"{grown} MB"
