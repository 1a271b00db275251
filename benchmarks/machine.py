"""The machine that is measured on: its processor, the instructions in force, its load; and how these are limited."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import torch
from options import Options

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "neon", "asimd", "sve")
"""Sets of instructions that decide how fast products are, as Linux names them."""

LIMITS = {"avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}
"""The environment that limits oneDNN, PyTorch and MKL to what an older processor knows, for ``--isa``."""


def processor() -> str:
    """Return the processor's name."""
    for name in ("model name", "Model"):
        if found := _cpu_info(name):
            return found
    return platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Return which of :data:`INSTRUCTIONS` the processor has."""
    flags = (_cpu_info("flags") or _cpu_info("Features")).split()
    return [name for name in INSTRUCTIONS if name in flags]


def _cpu_info(name: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def kind(device: torch.device) -> str:
    """Return the kind of processor that is measured, which results are filed under."""
    if device.type == "cuda":
        return "cuda"
    if limited := _limits():
        return limited.get("ATEN_CPU_CAPABILITY", "limited")
    has = instructions()
    for name, flag in (("amx", "amx_tile"), ("avx512-bf16", "avx512_bf16"), ("avx512", "avx512f"), ("avx2", "avx2")):
        if flag in has:
            return name
    return platform.machine()


def _limits() -> dict[str, str]:
    return {name: os.environ[name] for name in LIMITS["avx2"] if name in os.environ}


def conditions(options: Options) -> dict[str, object]:
    """Return what the results were measured under."""
    found: dict[str, object] = {
        "kind": kind(options.device),
        "processor": processor(),
        "instructions": instructions(),
        "limits": _limits(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "rounds": options.rounds,
        "load": [round(load, 2) for load in os.getloadavg()],
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    if options.device.type == "cuda":
        properties = torch.cuda.get_device_properties(options.device)
        found["gpu"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        found["cuda"] = torch.version.cuda
    return found
