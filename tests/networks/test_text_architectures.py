"""Every sequence classifier of transformers, small: right from its baselines, or refused with a reason."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from intgrads.errors import CheckpointError
from intgrads.texts.embeddings import EmbeddingLayer, FromEmbeddings
from intgrads.texts.spec import TextSpec
from shared.texts import LABELS, plain_tokenizer, prepared, saved, service_of
from torch import Tensor, nn
from transformers import PreTrainedModel

KINDS = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

SMALL: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "unk_token_id": 1, "bos_token_id": 2,
    "eos_token_id": 3, "mask_token_id": 4, "cls_token_id": 2, "sep_token_id": 3, "initializer_range": 0.3,
    "num_labels": 3, "max_position_embeddings": 64, "type_vocab_size": 2, "embedding_size": 16,
    "moe_intermediate_size": 16, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
    "n_routed_experts": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
    "v_head_dim": 8, "n_group": 1, "topk_group": 1, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 4, "num_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32, "ffn_dim": 32, "num_layers": 2, "d_ff": 32, "d_kv": 8, "n_embd": 32, "n_layer": 2,
    "n_head": 4, "n_inner": 64, "n_positions": 64, "n_ctx": 64, "dim": 32, "n_layers": 2, "n_heads": 4,
    "hidden_dim": 64, "dff": 32, "emb_dim": 32, "d_inner": 32, "word_embed_proj_dim": 32, "block_sizes": [1, 1],
    "d_head": 8, "max_seq_len": 64, "expert_dim": 16, "hidden_act": "gelu", "true_hidden_size": 32,
    "intra_bottleneck_size": 32, "conv_kernel_size": 3, "ffn_hidden_size": 64, "n_kv_heads": 2,
    "shared_expert_intermediate_size": 16, "moe_num_experts": 4, "mamba_d_state": 8, "mamba_headdim": 16,
    "n_mamba_heads": 4,
}  # fmt: skip
"""What makes a network small, by the names that configurations have for it."""


OWN: dict[str, dict[str, Any]] = {
    "axk1": {"head_dim": 4},
    "axk2": {"head_dim": 4},
    "deepseek_v3": {"head_dim": 4},
    "esm": {"token_dropout": True},
    "esmc": {"num_key_value_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4},
    "lilt": {"hidden_size": 48},
    "reformer": {
        "axial_pos_embds": False,
        "attention_head_size": 8,
        "attn_layers": ["local", "local"],
        "is_decoder": False,
    },
    "t5": {"decoder_start_token_id": 0},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "zamba": {"layers_block_type": ["mamba", "hybrid"]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "squeezebert": {"embedding_size": 32},
    "zamba2": {"layer_types": ["mamba", "hybrid"]},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 8},
}
"""What some need besides."""

LEAST_CHECKED = {True: 102, False: 86}


def small_network(kind: str, padded: bool) -> PreTrainedModel:
    """Return a random network of an architecture, or skip where it cannot be small, or be without a padding token."""
    made = transformers.CONFIG_MAPPING[kind]
    plain = made()
    names = {*plain.to_dict(), *plain.attribute_map}
    options = {name: value for name, value in SMALL.items() if name in names} | OWN.get(kind, {})
    if not padded:
        options["pad_token_id"] = None
    try:
        config = made(**options, id2label=LABELS)
        with torch.device("meta"):
            size = sum(part.numel() for part in KINDS[made](copy.deepcopy(config)).parameters())
        if size > 2 * 10**7:
            pytest.skip(f"{kind} is not small: {size} numbers")
        torch.manual_seed(0)
        model: PreTrainedModel = KINDS[made](config).eval()
    except Exception as error:  # configurations fail in any way
        pytest.skip(f"{kind} cannot be built by general names: {type(error).__name__}: {str(error)[:200]}")
    return model


def leaving(network: nn.Module, layer: EmbeddingLayer, **inputs: Tensor) -> Tensor:
    """Return what leaves a layer of a network for one text, (L, D)."""
    seen: list[Tensor] = []
    handle = network.get_submodule(layer.name).register_forward_hook(lambda *call: seen.append(call[-1].clone()))
    with torch.no_grad():
        network(**inputs)
    handle.remove()
    return seen[0][:, 0] if layer.tokens_first else seen[0][0]


CHECKED: dict[bool, list[str]] = {True: [], False: []}
"""Architectures with and without a padding token that were not refused."""


@pytest.mark.slow
@pytest.mark.parametrize("padded", [True, False], ids=["", "without a padding token"])
@pytest.mark.parametrize("kind", sorted({config.model_type for config in KINDS}))
def test_from_its_baselines_a_network_is_right_or_it_is_refused(kind: str, padded: bool, tmp_path: Path) -> None:
    """Right: its own logits at the text, in a batch too; and a baseline differs from the text in its words alone."""
    model = small_network(kind, padded)
    tokenizer = plain_tokenizer(0 if padded else None)  # segments are words in GPT-2 and others
    try:
        ingredients = prepared(saved(tmp_path, model, tokenizer))
    except CheckpointError as error:
        assert f"texts of the architecture '{kind}' cannot be attributed here: " in str(error)  # noqa: PT017
        pytest.skip(str(error))
    assert isinstance(ingredients.spec, TextSpec)
    layer, tokens = ingredients.spec.layer, ingredients.spec.tokens
    ids = torch.tensor(tokenizer("The camera is not good, but I like it .")["input_ids"])
    forward = FromEmbeddings(service_of(ingredients).network.module, layer, {"input_ids": ids})
    x = forward.embed()
    with torch.no_grad():
        own = model(input_ids=ids[None]).logits
        torch.testing.assert_close(forward(torch.stack([x, x])), torch.cat([own, own]), rtol=1e-4, atol=1e-5)
    assert set(tokens) == {"unk", "period"} | ({"pad"} if padded else set()) | ({"mask"} if kind != "esm" else set())
    for token in tokens.values():
        # The same network, in whose table every word is the token's.
        one_word = copy.deepcopy(model)
        weight = one_word.get_input_embeddings().weight
        with torch.no_grad():
            weight.copy_(weight[token].expand_as(weight))
        baseline = forward.embed(token)
        torch.testing.assert_close(baseline, leaving(one_word, layer, input_ids=ids[None]))
        assert not torch.allclose(baseline, x)
    CHECKED[padded].append(kind)


@pytest.mark.slow
def test_most_architectures_were_checked() -> None:
    for padded, least in LEAST_CHECKED.items():
        print(f"\n{len(CHECKED[padded])} of {len(KINDS)} architectures: {', '.join(CHECKED[padded])}")
        assert len(CHECKED[padded]) >= least
