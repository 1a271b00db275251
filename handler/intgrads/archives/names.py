"""What the files of an archive are called: in a file of its own, so that reading a name does not load PyTorch."""

MANIFEST = "intgrads.json"
LABELS = "labels.json"
WEIGHTS = "weights.safetensors"
MODEL_CONFIG = "model-config.yaml"
"""TorchServe's."""
