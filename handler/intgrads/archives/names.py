"""What the files of an archive are called: for whoever looks into one, and needs nothing of what they say."""

MANIFEST = "intgrads.json"
LABELS = "labels.json"
WEIGHTS = "weights.safetensors"
MODEL_CONFIG = "model-config.yaml"
"""TorchServe's."""
