"""The steps of one request are spread over copies of the network, and the answer is the same."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.integral.attribution import PathIntegral
from intgrads.integral.batches import integrate
from intgrads.integral.fixed import FixedNodes
from intgrads.integral.path import StraightPath
from intgrads.integral.quadrature import quadrature
from intgrads.integral.refinement import Refinement
from intgrads.service import Service
from intgrads.speed.devices import OnDevice
from shared.memory import OUT, Small
from shared.texts import bert_service
from shared.toys import json_call, pixels, small_network, small_service, told
from torch import Tensor, nn

CPU = torch.device("cpu")


class Seen(nn.Module):
    """A network that notes its batches; with a barrier, one that waits for its copies in all batches but those of x."""

    def __init__(self, barrier: threading.Barrier | None = None) -> None:
        super().__init__()
        self.inner = small_network().eval().requires_grad_(False)
        self.barrier = barrier
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        if self.barrier is not None and len(x) > 3:
            self.barrier.wait(60)
        out: Tensor = self.inner(x)
        return out


def integral(seed: int, targets: tuple[int, ...] | None, nodes: Any = None) -> PathIntegral:
    x = torch.rand(3, 8, 10, generator=torch.Generator().manual_seed(seed))
    return PathIntegral(
        StraightPath(x, torch.zeros_like(x), targets), nodes or FixedNodes(quadrature("gausslegendre", 20))
    )


def integrated(copies: list[Any], chunk_rows: int, nodes: Any = None) -> list[PathIntegral]:
    integrals = [integral(0, None, nodes), integral(1, (2, 0)), integral(2, None)]
    integrate(copies, integrals, chunk_rows)
    assert all(one.complete for one in integrals)
    return integrals


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("chunk_rows", [1, 4, 1000])
def test_any_number_of_copies_gives_the_same(copies: int, chunk_rows: int) -> None:
    expected = integrated([small_network().eval().requires_grad_(False)], 7)
    networks = [Seen() for _ in range(copies)]
    found = integrated([networks[0], *(OnDevice(other, CPU) for other in networks[1:])], chunk_rows)
    for one, other in zip(expected, found, strict=True):
        a, b = one.finish(), other.finish()
        assert a.targets == b.targets
        torch.testing.assert_close(a.integrated_gradients, b.integrated_gradients, rtol=1e-5, atol=1e-6)
        assert a.evaluations == b.evaluations


def test_the_steps_are_shared_out_evenly_once_the_targets_are_known() -> None:
    """All copies compute at once: each waits within its batch for the others, in vain if they came one after it."""
    barrier = threading.Barrier(3)
    networks = [Seen(barrier) for _ in range(3)]
    integrated(list(networks), 1000)
    assert networks[0].batches[0] == 3
    shares = [sum(network.batches) for network in networks]
    assert sum(shares) == 3 * 22
    assert max(shares) - min(shares) <= 4
    assert not barrier.broken


def test_the_same_request_twice_gives_the_same_bytes() -> None:
    results = []
    for _ in range(3):
        networks = [small_network().eval().requires_grad_(False) for _ in range(3)]
        results.append([one.finish().integrated_gradients for one in integrated(list(networks), 4)])
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], again, strict=True))


def test_a_refinement_is_spread_too() -> None:
    networks = [Seen(), Seen()]
    found = integrated(list(networks), 8, Refinement(0.001, 300))[0].finish()
    assert found.converged.all()
    assert min(sum(network.batches) for network in networks) > 20


def test_memory_that_runs_out_on_one_copy_halves_the_batch_and_nothing_is_lost() -> None:
    expected = integrated([small_network().eval().requires_grad_(False)], 4)
    small = Small(3, OUT[0])
    found = integrated([small_network().eval().requires_grad_(False), small.eval().requires_grad_(False)], 16)
    assert max(small.batches) > 3
    for one, other in zip(expected, found, strict=True):
        a, b = one.finish().integrated_gradients, other.finish().integrated_gradients
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_another_failure_on_one_copy_is_told() -> None:
    broken = Small(0, RuntimeError("shapes differ")).eval().requires_grad_(False)
    with pytest.raises(RuntimeError, match="shapes"):
        integrated([small_network().eval().requires_grad_(False), broken], 4)


@pytest.mark.parametrize("kind", ["pictures", "text"])
def test_a_service_of_several_devices_answers_as_one(kind: str) -> None:
    one: Service[Any] = small_service() if kind == "pictures" else bert_service()
    other: Service[Any] = small_service() if kind == "pictures" else bert_service()
    several = Service("toy", one.network, one.settings, CPU, copies=[(other.network.module, CPU)])
    ask: dict[str, Any] = {"img_data": pixels().tolist()} if kind == "pictures" else {"sequence": ["not good", "bad"]}
    name = "integrated_grads" if kind == "pictures" else "integrated_gradients"
    calls = [
        json_call(**ask, format="json", fields=[name]),
        json_call(**ask, format="json", fields=[name], tolerance=0.01),
    ]
    batches: list[nn.Module] = []
    handle = other.network.module.register_forward_pre_hook(lambda module, _: batches.append(module))
    answers = list(map(told, several.answer(calls)))
    handle.remove()
    assert batches, "the copy took a part"
    for expected, found in zip(map(told, one.answer(calls)), answers, strict=True):
        pairs = zip(expected.get("answers", [expected]), found.get("answers", [found]), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(np.array(a[name]), np.array(b[name]), rtol=1e-4, atol=1e-6)
            assert a["evaluations"] == b["evaluations"]


def test_the_setting_names_the_devices(tmp_path: Any) -> None:
    from intgrads.archives.archive import write_archive
    from intgrads.networks.family import Order
    from intgrads.settings import Settings
    from shared.texts import saved, small_bert, small_bert_tokenizer

    folder = saved(tmp_path / "bert", small_bert(), small_bert_tokenizer())
    settings = Settings.model_validate({"devices": "cpu,cpu,cpu"})
    write_archive(Order(f"hf:{folder}", None, None, settings), tmp_path)
    service = Service.load(tmp_path, CPU)
    assert [device for _, device in service.copies] == [CPU, CPU]
    assert len({id(service.network.module), *(id(module) for module, _ in service.copies)}) == 3
    assert service.answer([json_call(sequence="good")])[0].status == 200
