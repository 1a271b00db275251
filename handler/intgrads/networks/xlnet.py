"""XLNet, base and large, cased (Yang et al., NeurIPS 2019, arXiv 1906.08237), as a sequence classifier.

The network is transformers' own, by whose names the checkpoint goes. Its tokeniser is a SentencePiece model that the
user brings. As its authors did, <cls> stands at the end and is a segment of its own.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from intgrads.networks.bert import LABELS
from intgrads.networks.checkpoints import fit, read_weights
from intgrads.networks.family import Ingredients, Order
from intgrads.networks.sequence_classifiers import SequenceClassifiers, read_tokenizer, text_ingredients

SIZES: dict[str, dict[str, int]] = {
    "xlnet-base": {"n_layer": 12, "d_model": 768, "n_head": 12, "d_inner": 3072},
    "xlnet-large": {"n_layer": 24, "d_model": 1024, "n_head": 16, "d_inner": 4096},
}


class XLNet(SequenceClassifiers):
    """``xlnet-base`` and ``xlnet-large``, ``--weights FILE --tokenizer spiece.model``."""

    def read(self, order: Order) -> Ingredients:
        """Read the user's checkpoint; see :meth:`intgrads.networks.family.Family.read`."""
        from transformers import XLNetConfig, XLNetForSequenceClassification, XLNetTokenizer

        path, pieces = order.file("weights"), order.file("tokenizer")
        weights = read_weights(path)
        config = XLNetConfig(**SIZES[order.model])
        module = XLNetForSequenceClassification(config)
        module.load_state_dict(fit(weights, module.state_dict(), path))
        tokenizer = read_tokenizer(pieces, XLNetTokenizer)
        labels = order.labels or LABELS
        return text_ingredients(order, module, config, tokenizer, labels, segments=True, own_vocabulary=True)

    def build(self, architecture: dict[str, Any]) -> nn.Module:
        """Return the network without weights; see :meth:`intgrads.networks.family.Family.build`."""
        return super().build(architecture)
