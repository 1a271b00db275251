"""On a GPU the numbers are the CPU's, precisions round as they should, and a batch that does not fit is halved.

Skipped where there is none. intgrads was developed without one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import timm
import torch
from intgrads import integrated_gradients
from intgrads.integral.batches import integrate
from intgrads.speed.devices import OnDevice, chunk_rows, memory_of_a_row
from intgrads.speed.precision import PRECISIONS, Precision, at_precision, pays
from intgrads.speed.preparation import prepare, prepare_linear
from intgrads.texts.embeddings import FromEmbeddings, find_embedding_layer
from shared.texts import small_bert
from shared.toys import json_call, pixels, small_network, small_service, told
from torch import Tensor, nn

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]

CPU = torch.device("cpu")
SHAPE = (3, 64, 64)
NAMES = ("resnet18", "efficientnet_lite0", "resnetv2_50x1_bit", "vit_tiny_patch16_224")


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """Return the first GPU, float32 kept float32 as handler.py sees to."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield torch.device("cuda", 0)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]
    torch.cuda.empty_cache()


def network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    options = {"img_size": SHAPE[-1]} if name.startswith("vit") else {}
    return timm.create_model(name, num_classes=10, **options).eval(), torch.rand(1, *SHAPE)


def off(found: Tensor, exact: Tensor) -> float:
    return float((found.double().cpu() - exact.double().cpu()).norm() / exact.double().norm())


@pytest.mark.parametrize("name", NAMES)
def test_float32_gives_what_the_cpu_gives_in_float64(name: str, gpu: torch.device) -> None:
    module, x = network(name)
    exact = integrated_gradients(module.double(), x.double(), target=3, n_steps=8)
    prepared = prepare(module.float(), SHAPE, gpu)
    found = integrated_gradients(prepared, x.to(gpu), target=3, n_steps=8)
    # A ReLU that is at 0 but for rounding may go either way, and takes its gradient with it.
    assert off(found.integrated_gradients, exact.integrated_gradients) < 1e-2
    assert found.output.device.type == found.integrated_gradients.device.type == "cpu"
    torch.testing.assert_close(found.output.double(), exact.output.double(), rtol=1e-3, atol=1e-3)


def test_a_text_gives_what_the_cpu_gives(gpu: torch.device) -> None:
    tokens = torch.arange(5, 13)
    found = {}
    for device in (CPU, gpu):
        module = prepare_linear(small_bert(), device)
        inputs = {"input_ids": tokens.to(device)}
        forward = FromEmbeddings(module, find_embedding_layer(module, inputs), inputs)
        found[device] = integrated_gradients(forward, forward.embed()[None], target=1).integrated_gradients
    assert off(found[gpu], found[CPU]) < 1e-3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions_round_as_they_do_on_the_cpu(precision: Precision, gpu: torch.device) -> None:
    module = small_network().eval()  # smooth: bfloat16 flips no ReLU
    x = torch.rand(1, 3, 8, 10)
    exact = integrated_gradients(module, x, target=0).integrated_gradients
    prepared = at_precision(prepare(module, (3, 8, 10), gpu), precision)
    found = integrated_gradients(prepared, x.to(gpu), target=0).integrated_gradients
    assert off(found, exact) < {"float32": 1e-4, "hybrid": 0.02, "bfloat16": 0.1}[precision]
    assert pays(gpu)


def test_tf32_is_off_in_a_server() -> None:
    import handler

    assert handler.device_of(0).type == "cuda"
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


def test_a_row_takes_the_memory_that_was_counted_on_the_cpu(gpu: torch.device) -> None:
    module, _ = network("resnet18")
    module.requires_grad_(False)
    on_cpu = memory_of_a_row(module, SHAPE, CPU).saved
    assert memory_of_a_row(module.to(gpu), SHAPE, gpu).saved == pytest.approx(on_cpu, rel=0.3)


def test_a_batch_stays_within_its_budget(gpu: torch.device) -> None:
    module, x = network("resnet18")
    prepared = prepare(module, SHAPE, gpu)
    budget = 256
    rows = chunk_rows(budget, memory_of_a_row(prepared, SHAPE, gpu), gpu)
    integrated_gradients(prepared, x.to(gpu), target=0, n_steps=4, chunk_rows=4)  # cuBLAS takes its own once
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(gpu)
    held = torch.cuda.memory_allocated(gpu)
    integrated_gradients(prepared, x.to(gpu), target=0, n_steps=2 * rows, chunk_rows=rows, keep_gradients=False)
    # What the integral keeps of each point is small beside what the network does.
    assert (torch.cuda.max_memory_allocated(gpu) - held) / 2**20 < 1.5 * budget


def test_a_batch_that_does_not_fit_is_halved(gpu: torch.device, caplog: pytest.LogCaptureFixture) -> None:
    module, x = network("resnet18")
    prepared, points = prepare(module, SHAPE, gpu), 510
    exact = integrated_gradients(prepared, x.to(gpu), target=0, n_steps=points, chunk_rows=32)
    torch.cuda.empty_cache()
    row = memory_of_a_row(prepared, SHAPE, gpu).saved
    total = torch.cuda.mem_get_info(gpu)[1]
    torch.cuda.set_per_process_memory_fraction(
        min(1.0, (torch.cuda.memory_reserved(gpu) + 128 * 2**20 + 128 * row) / total), gpu
    )
    try:
        found = integrated_gradients(prepared, x.to(gpu), target=0, n_steps=points, chunk_rows=points + 2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    assert "out of memory with 512 points a batch; going on with 256" in caplog.text
    assert off(found.integrated_gradients, exact.integrated_gradients) < 1e-3


def test_the_steps_are_shared_with_a_cpu(gpu: torch.device) -> None:
    from intgrads.integral.attribution import PathIntegral
    from intgrads.integral.fixed import FixedNodes
    from intgrads.integral.path import StraightPath
    from intgrads.integral.quadrature import quadrature

    module, x = network("resnet18")
    module.requires_grad_(False)
    expected = integrated_gradients(module, x, target=0, n_steps=12)
    on_gpu = prepare(module, SHAPE, gpu)
    nodes = FixedNodes(quadrature("gausslegendre", 12))
    integral = PathIntegral(StraightPath(x[0].to(gpu), 0 * x[0].to(gpu), (0,)), nodes)
    integrate([on_gpu, OnDevice(module, CPU)], [integral], 4)
    assert off(integral.finish().integrated_gradients, expected.integrated_gradients) < 1e-2


def test_a_service_answers_from_the_gpu(gpu: torch.device) -> None:
    on_cpu = small_service()
    service = type(on_cpu)("toy", on_cpu.network, on_cpu.settings, CPU)
    expected = told(service.answer([json_call(img_data=pixels().tolist(), format="json")])[0])
    network_there = type(on_cpu.network)(
        prepare(small_network().eval(), (3, 8, 10), gpu), on_cpu.network.picture, on_cpu.network.labels
    )
    there = type(on_cpu)("toy", network_there, on_cpu.settings, gpu)
    answer = told(there.answer([json_call(img_data=pixels().tolist(), format="json")])[0])
    assert answer["target_label"] == expected["target_label"]
    assert answer["difference"] == pytest.approx(expected["difference"], rel=1e-3)
    assert there.describe()["device"] == "cuda:0"
