"""Less precise arithmetic is asked for in text as in pictures, and is near to float32."""

from typing import Any

import numpy as np
import pytest
from shared.texts import bert_service, xlnet_service
from shared.toys import json_call, told

TEXT = "The camera isn't good, but I like it!"


@pytest.mark.parametrize("service", [bert_service(), xlnet_service()], ids=["bert", "xlnet"])
@pytest.mark.parametrize(("precision", "error"), [("hybrid", 0.03), ("bfloat16", 0.2)])
def test_it_differs_and_only_by_its_rounding(
    service: Any, precision: str, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intgrads.service.pays", lambda _: True)

    def ask(precision: str) -> Any:
        content = {"sequence": [TEXT, "bad"], "format": "json", "n_steps": 20, "fields": ["integrated_gradients"]}
        return told(service.answer([json_call(**content, precision=precision)])[0])["answers"]

    for exact, found in zip(ask("float32"), ask(precision), strict=True):
        assert found["precision"] == precision
        assert found["evaluations"] == 22
        a, b = (np.array(answer["integrated_gradients"]) for answer in (exact, found))
        assert 0 < np.linalg.norm(a - b) <= error * np.linalg.norm(a)
