"""``intgrads attribute``: files in, an answer's file for each out; what fails is told, and the others are answered."""

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from intgrads.client import Client, Result
from intgrads.command.main import app
from PIL import Image
from shared.commands import ENVIRONMENT, PROGRAM, interrupted, intgrads, read_until, replying, running, wait_for
from shared.places import EXAMPLES
from shared.toys import encoded, pixels
from typer.testing import CliRunner
from typer.testing import Result as Said

ANSWER = (200, json.dumps({"target_label": "cat", "attribution_error": 0.04}).encode())
BUSY = (503, b'{"code": 503, "type": "ServiceUnavailableException", "message": "the queue is full"}')

CAT = EXAMPLES / "cat.jpg"


def run(*arguments: str | Path, url: str | None = None) -> Said:
    server = ["--server", url] if url else []
    return CliRunner().invoke(app, ["attribute", *map(str, arguments), *server], env={"COLUMNS": "300"})


def rows(said: Said | subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Return what ``--json`` told, by the file."""
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    told = {line["file"]: line for line in lines}
    assert len(told) == len(lines)
    return told


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Return pictures with names that trip who takes them for markup, patterns or text."""
    (tmp_path / "pictures").mkdir()
    names = [b"cat.png", b"[red]c[at] *?.png", "çät 好.png".encode(), b"n\xff\xfe.png"]
    files = [tmp_path / "pictures" / os.fsdecode(name) for name in names]
    for k, file in enumerate(files):
        file.write_bytes(encoded(pixels(40, 50, seed=k)))
    return files


# ---------------------------------------------------------------------- a real server
@pytest.mark.server
def test_many_files_are_answered_as_each_alone(served: Any, pictures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    options: list[str | Path] = [
        "--name",
        "small",
        "--out",
        out,
        "--target-class",
        "dog",
        "--field",
        "n_steps=5",
        "--jobs",
        "3",
        "--json",
    ]
    said = run(*pictures, *options, url=served.url)
    assert said.exit_code == 0, said.stderr
    told = rows(said)
    assert sorted(told) == sorted(map(str, pictures))
    assert len(list(out.iterdir())) == len(pictures)
    with Client(served.url, model="small") as client:
        for file in pictures:
            row = told[str(file)]
            place = out / f"{file.stem}.attribution.safetensors"
            assert row["out"] == str(place)
            assert row["bytes"] == place.stat().st_size
            assert row["target_label"] == "dog"
            result, alone = Result.read(place.read_bytes()), client.attribute(file, target_class="dog", n_steps=5)
            assert row["attribution_error"] == result.attribution_error
            np.testing.assert_allclose(result.attribution, alone.attribution, rtol=1e-3, atol=1e-5)


@pytest.mark.server
def test_odd_names_are_told_to_people_too(served: Any, pictures: list[Path], tmp_path: Path) -> None:
    done = intgrads("attribute", *pictures, "--server", served.url, "--name", "small", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = sorted(line.partition(": ")[0] for line in done.stdout.splitlines())
    assert told == sorted(str(file).encode(errors="backslashreplace").decode() for file in pictures)


@pytest.mark.server
@pytest.mark.parametrize("format", ["gzip", "npz", "json", "png", "html"])
def test_every_format_is_written(served: Any, format: str, tmp_path: Path) -> None:
    said = run(
        CAT, "--name", "small", "--out", tmp_path, "--format", format, "--field", "fields=output", url=served.url
    )
    assert said.exit_code == 0, said.stderr
    with Client(served.url, model="small") as client:
        expected = client.ask(CAT, format=format, fields=["output"])
    written = (tmp_path / f"cat.attribution.{format}").read_bytes()
    assert written[:4] == expected[:4]
    if format == "png":
        Image.open(tmp_path / "cat.attribution.png").verify()


@pytest.mark.server
def test_what_the_server_refuses_harms_no_other(served: Any, tmp_path: Path) -> None:
    files = {
        "text.txt": b"It is good.",
        "half.png": encoded(pixels())[:60],
        "empty.png": b"",
        "good.png": encoded(pixels()),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    said = run(*(tmp_path / name for name in files), "--name", "small", "--out", tmp_path, "--json", url=served.url)
    assert said.exit_code == 1
    assert said.stderr == "3 of 4 files were not answered\n"
    told = {Path(name).name: row for name, row in rows(said).items()}
    errors: dict[str, Any] = {name: row.get("error") for name, row in told.items()}
    assert errors["good.png"] is None
    assert errors["text.txt"]["type"] == "AnotherKind"
    assert errors["half.png"]["field"] == "image"
    assert errors["empty.png"] == {
        "status": None,
        "type": "ClientError",
        "message": "the input is empty",
        "field": None,
    }
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["good.attribution.safetensors"]


@pytest.mark.server
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--name", "nope"], "Model not found: nope (404 ModelNotFoundException)"),
        (["--name", "small", "--target-class", "zebra"], "target_class: "),
        (["--name", "small", "--field", "n_steps=0"], "n_steps: "),
        (["--name", "small", "--field", "no_such_field=1"], "no_such_field: "),
    ],
)
def test_a_request_that_is_wrong_is_told(served: Any, options: list[str], words: str, tmp_path: Path) -> None:
    said = run(CAT, *options, "--out", tmp_path, url=served.url)
    assert said.exit_code == 1
    assert said.stderr.startswith(f"{CAT}: ")
    assert words in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.server
def test_an_archive_is_asked_by_a_server_of_its_own(archive: Path, tmp_path: Path) -> None:
    said = run(CAT, "--model", archive, "--out", tmp_path, "--json")
    assert said.exit_code == 0, said.stderr
    assert rows(said)[str(CAT)]["target_label"] in ("cat", "dog", "horse")
    assert (tmp_path / "cat.attribution.safetensors").is_file()


# ---------------------------------------------------------------------- servers that do not answer
def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    with replying(BUSY, ANSWER) as server:
        said = run(CAT, "--format", "json", "--out", tmp_path, url=server.url)
    assert said.exit_code == 0, said.stderr
    assert len(server.asked) == 2
    assert said.stdout == f"{CAT}: cat, error of the map 4.0%, {tmp_path / 'cat.attribution.json'}\n"


def test_a_busy_server_is_given_up_in_the_end(tmp_path: Path) -> None:
    with replying(BUSY) as server:
        said = run(CAT, "--retries", "1", "--out", tmp_path, url=server.url)
    assert said.exit_code == 1
    assert len(server.asked) == 2
    assert said.stderr == f"{CAT}: the queue is full (503 ServiceUnavailableException)\n"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((413, b""), "send a smaller picture (413)"),
        ((200, b"<html>hello</html>"), "is no answer in safetensors"),
        ((502, b"<html>"), "a proxy reached no server"),
    ],
)
def test_an_answer_that_is_none_is_told(reply: tuple[int, bytes], words: str, tmp_path: Path) -> None:
    with replying(reply) as server:
        said = run(CAT, "--out", tmp_path, url=server.url)
    assert said.exit_code == 1
    assert words in said.stderr
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:8080", "http://["])
def test_no_server_is_told_once(url: str, pictures: list[Path]) -> None:
    said = run(*pictures, url=url)
    assert said.exit_code == 1
    assert said.stdout == ""
    assert said.stderr.startswith(f"intgrads: no server answers at {url} ")
    assert "`intgrads serve`" in said.stderr


def test_ctrl_c_tells_how_far_it_came(pictures: list[Path], tmp_path: Path) -> None:
    with replying(ANSWER, None) as server:
        options: list[str | Path] = ["--server", server.url, "--format", "json", "--jobs", "2", "--out", tmp_path]
        with running("attribute", *pictures, *options) as asking:
            read_until(asking, ".attribution.json")
            wait_for(lambda: len(server.asked) == 3)
            assert interrupted(asking) == (130, "", "stopped; 1 of 4 answers were written\n")
    assert len(list(tmp_path.glob("*.attribution.json"))) == 1


@pytest.mark.server
def test_ctrl_c_as_its_own_server_starts(archive: Path, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    with running("attribute", CAT, "--model", archive, "--out", tmp_path / "out", env=environment) as asking:
        wait_for(lambda: list(tmp_path.glob("intgrads-*/server.json")))
        assert interrupted(asking) == (130, "", "stopped; 0 of 1 answers were written\n")
    assert not list(tmp_path.glob("intgrads-*"))
    assert not list((tmp_path / "out").iterdir())


# ---------------------------------------------------------------------- a terminal
def test_progress_is_shown_on_a_terminal_and_lines_go_where_they_are_sent(pictures: list[Path], tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    try:
        with replying(ANSWER) as server:
            options = ["--server", server.url, "--format", "json", "--json", "--out", str(tmp_path)]
            done = subprocess.run(
                [*PROGRAM, "attribute", *map(str, pictures), *options],
                env={**ENVIRONMENT, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=end, text=True, check=True,
            )  # fmt: skip
        assert sorted(rows(done)) == sorted(map(str, pictures))
        assert b"attributing" in os.read(terminal, 100_000)
    finally:
        os.close(terminal)
        os.close(end)


# ---------------------------------------------------------------------- wrong usage
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "FILES"),
        (["none.jpg"], "none.jpg"),
        (["{folder}"], "is a directory"),
        (["{cat}", "--format", "jpeg"], "jpeg"),
        (["{cat}", "--field", "n_steps"], "write NAME=VALUE"),
        (["{cat}", "--field", "format=png"], "--format"),
        (["{cat}", "--model", "none.mar"], "none.mar"),
        (["{cat}", "--model", "{cat}"], "an archive is needed"),
        (["{cat}", "--out", "{cat}"], "is a file"),
        (["{cat}", "{folder}/cat.png"], "several files would become"),
        (["{cat}", "--jobs", "0"], "--jobs"),
    ],
)
def test_what_was_typed_wrongly_is_told(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(encoded(pixels()))
    said = run(*(word.format(cat=CAT, folder=tmp_path) for word in arguments))
    assert said.exit_code == 2
    assert words in said.stderr


def test_a_server_and_an_archive_are_one_too_many(archive: Path) -> None:
    said = run(CAT, "--model", archive, url="http://127.0.0.1:1")
    assert said.exit_code == 2
    assert "not both" in said.stderr


def test_fields_are_json_where_they_are_some(tmp_path: Path) -> None:
    given = [
        "n_steps=5",
        "verify=true",
        'baseline=["black", "white"]',
        "fields=output,alphas",
        "output=log_probability",
    ]
    options: list[str | Path] = [word for pair in given for word in ("--field", pair)]
    with replying(ANSWER) as server:
        said = run(
            CAT,
            *options,
            "--target-class",
            "3",
            "--tolerance",
            "0.1",
            "--format",
            "json",
            "--out",
            tmp_path,
            url=server.url,
        )
    assert said.exit_code == 0, said.stderr
    sent = json.loads(server.asked[0])
    assert sent.keys() == {
        "image", "n_steps", "verify", "baseline", "fields", "output", "target_class", "tolerance", "format",
    }  # fmt: skip
    assert (sent["n_steps"], sent["verify"], sent["target_class"], sent["tolerance"]) == (5, True, 3, 0.1)
    assert (sent["baseline"], sent["fields"]) == (["black", "white"], ["output", "alphas"])
    assert (sent["output"], sent["format"]) == ("log_probability", "json")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = run(CAT, "--out", tmp_path / "file" / "out", url="http://127.0.0.1:1")
    assert said.exit_code == 1
    assert "Not a directory" in said.stderr
