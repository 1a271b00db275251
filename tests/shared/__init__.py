"""What tests share. No test module imports another; what two of them need lies here."""

from pathlib import Path

import pytest

# Before they are imported, so that what they assert is told as fully as what a test does.
pytest.register_assert_rewrite(*(f"{__name__}.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py")))
