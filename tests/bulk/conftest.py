"""An archive of texts for runs over data sets; its layers are computed in one way, so that numbers can be compared."""

from pathlib import Path

import pytest
from intgrads.archives.archiver import make_archive
from intgrads.networks.family import Order
from intgrads.settings import Settings


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo's network of texts; tests leave it as it is."""
    settings = Settings.model_validate({"operators": "plain", "threads": 1, "n_steps": 3})
    return make_archive(Order("demo-text", None, None, settings), "text", store=tmp_path_factory.mktemp("bulk"))
