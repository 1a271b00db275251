"""Schemathesis sends what the description allows, and what it does not, to a real TorchServe."""

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from intgrads.serving.torchserve import TorchServe
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from shared.serving import description, pids

pytestmark = pytest.mark.server

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]

EXAMPLES = 60


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", ["intgrads", "text"])
def test_requests_are_answered_as_described(torchserve: TorchServe, name: str, mode: GenerationMode) -> None:
    before = pids(torchserve, name)
    document = description(torchserve, name)["openapi"]
    if mode is GenerationMode.NEGATIVE:
        # A malformed form is TorchServe's to answer, which it does with a 500 of its own.
        taken = document["paths"][f"/predictions/{name}"]["post"]["requestBody"]["content"]
        for content_type in set(taken) - {"application/json"}:
            del taken[content_type]
    operation = schemathesis.openapi.from_dict(document)[f"/predictions/{name}"]["POST"]
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        reply = case.call(base_url=torchserve.url, timeout=120)
        statuses[reply.status_code] += 1
        case.validate_response(reply, checks=CHECKS)

    check()
    assert statuses.total() >= EXAMPLES // 2
    assert pids(torchserve, name) == before
