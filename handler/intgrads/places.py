"""Where what belongs to the package lies: beside it in the repository, in it where it was installed from a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).parent
IN_REPOSITORY = (PACKAGE.parent / "handler.py").is_file()
REPOSITORY = PACKAGE.parents[1]

HANDLER = (PACKAGE.parent if IN_REPOSITORY else PACKAGE) / "handler.py"
"""TorchServe's side."""

CONFIG = (REPOSITORY if IN_REPOSITORY else PACKAGE) / "config.properties"
METRICS = (REPOSITORY if IN_REPOSITORY else PACKAGE) / "metrics.yaml"
"""TorchServe's configuration, and which metrics it tells."""

HERE = REPOSITORY if IN_REPOSITORY else Path.cwd()
MODEL_STORE = HERE / "model_store"
"""Where archives are written: in the repository, or where an installed package is run."""
