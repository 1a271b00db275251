"""The layer that a text enters by is found in networks that nobody listed, and what cannot be is refused."""

from typing import Any

import pytest
import torch
import transformers
from intgrads.texts.embeddings import FromEmbeddings, find_embedding_layer
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

SMALL: dict[str, Any] = {"vocab_size": 50, "num_labels": 3, "pad_token_id": 1}
ROOMY = {**SMALL, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
IDS = torch.tensor([7, 8, 9, 20, 21, 9, 30, 2])

FOUND: dict[str, tuple[str, dict[str, Any], str]] = {
    "BERT": ("Bert", ROOMY, "bert.embeddings"),
    "RoBERTa": ("Roberta", ROOMY, "roberta.embeddings"),
    "ELECTRA": ("Electra", {**ROOMY, "embedding_size": 8}, "electra.embeddings"),
    "ALBERT": ("Albert", {**ROOMY, "embedding_size": 8}, "albert.embeddings"),
    "MPNet": ("MPNet", ROOMY, "mpnet.embeddings"),
    "DeBERTa v2": ("DebertaV2", ROOMY, "deberta.embeddings"),
    "DistilBERT": ("DistilBert", {**SMALL, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
                   "distilbert.embeddings"),
    "XLNet": ("XLNet", {**SMALL, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
              "transformer.word_embedding"),
    "GPT-2": ("GPT2", {**SMALL, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 2},
              "transformer.wte"),
    "OPT": ("OPT", {**SMALL, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32,
                    "word_embed_proj_dim": 16}, "model.decoder.embed_tokens"),
}  # fmt: skip


def network(name: str, options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**options)
    module: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("name", FOUND)
def test_the_layer_is_found_and_gives_the_networks_own_logits(name: str) -> None:
    kind, options, expected = FOUND[name]
    module = network(kind, options)
    inputs = {"input_ids": IDS}
    layer = find_embedding_layer(module, inputs)
    assert layer.name == expected
    forward = FromEmbeddings(module, layer, inputs)
    points = forward.embed()
    assert points.shape == (len(IDS), layer.width)
    own = module(IDS[None]).logits
    torch.testing.assert_close(forward(torch.stack([points, points])), torch.cat([own, own]), rtol=1e-5, atol=1e-6)
    assert not torch.equal(forward(-points[None]), forward(points[None]))
    assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.parametrize("name", ["BERT", "XLNet", "GPT-2"])
def test_a_batch_of_points_gives_what_its_rows_give_alone(name: str) -> None:
    kind, options, _ = FOUND[name]
    module = network(kind, options)
    inputs = {"input_ids": IDS}
    layer = find_embedding_layer(module, inputs)
    forward = FromEmbeddings(module, layer, inputs)
    points = torch.randn(4, len(IDS), layer.width, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([forward(point[None]) for point in points])
    torch.testing.assert_close(forward(points), alone, rtol=1e-5, atol=1e-6)


class Odd(nn.Module):
    """A classifier without a table that it names, or one whose layers mix tokens, or one that draws at random."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.table = nn.Embedding(50, 4)
        self.head = nn.Linear(4, 2)

    def get_input_embeddings(self) -> nn.Module:
        if self.fault == "no table":
            raise NotImplementedError
        return self.table

    def forward(self, input_ids: Tensor) -> SequenceClassifierOutput:
        states = self.table(input_ids)
        if self.fault == "twice":
            states = states + self.table(input_ids)
        if self.fault == "another way":
            states = states + self.table.weight[input_ids] * 2
        if self.fault == "no gradient":
            states = states.detach()
        if self.fault == "random":
            states = states + torch.rand(states.shape)
        return SequenceClassifierOutput(logits=self.head(states.mean(1)))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no table", "names no table"),
        ("twice", "once a pass"),
        ("no gradient", "no gradient"),
        ("random", "its own logits"),
        ("another way", "in another way too than by its table"),
    ],
)
def test_what_cannot_be_integrated_is_refused(fault: str, words: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=words):
        find_embedding_layer(Odd(fault).eval().requires_grad_(False), {"input_ids": IDS})


def test_an_encoder_and_a_decoder_that_share_a_table_are_refused() -> None:
    options = {
        **SMALL, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "eos_token_id": 2,
        "max_position_embeddings": 64,
    }  # fmt: skip
    with pytest.raises(ValueError, match="once a pass"):
        find_embedding_layer(network("Bart", options), {"input_ids": IDS})
