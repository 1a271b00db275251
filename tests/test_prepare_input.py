"""``prepare_input.py``: the JSON of the first servers, and an error for what is missing or unknown."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from shared.places import ROOT
from shared.toys import encoded, json_call, pixels, small_service


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    # Whatever archive this checkout happens to hold must not matter.
    command = [sys.executable, str(ROOT / "prepare_input.py"), "--archive", "none.mar", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(pixels(9, 11)))
    return path


def test_three_arguments_write_rows_of_rgb_and_the_label(picture: Path, tmp_path: Path) -> None:
    done = run(picture, "airplane", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["target_class"] == "airplane"
    np.testing.assert_array_equal(content["img_data"], pixels(9, 11))
    assert small_service().answer([json_call(img_data=content["img_data"])])[0].status == 200


def test_two_arguments_write_planes_of_bgr(picture: Path, tmp_path: Path) -> None:
    assert run(picture, tmp_path / "out.json").returncode == 0
    content = json.loads((tmp_path / "out.json").read_text())
    assert content.keys() == {"img_data"}
    np.testing.assert_array_equal(np.array(content["img_data"])[::-1].transpose(1, 2, 0), pixels(9, 11))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.jpg", "cat", "{out}"), "none.jpg"),
        (("{picture}", "unicorn", "{out}"), "airplane, automobile"),
        (("{script}", "cat", "{out}"), "not a JPEG"),
        (("{picture}", "cat", "{missing}/out.json"), "No such file"),
    ],
)
def test_what_is_missing_or_unknown_is_told(
    arguments: tuple[str, ...], words: str, picture: Path, tmp_path: Path
) -> None:
    places = {"picture": picture, "out": tmp_path / "out.json", "script": __file__, "missing": tmp_path / "none"}
    done = run(*(a.format(**places) for a in arguments))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_without_arguments_it_says_how() -> None:
    done = run()
    assert done.returncode == 2
    assert "IMAGE [LABEL] OUT.json" in done.stderr


def test_the_labels_of_an_archive_count_where_there_is_one(picture: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.mar", "w") as mar:
        mar.writestr("labels.json", json.dumps(["espresso", "crane", "crane"]))
    out = tmp_path / "out.json"
    options = ("--archive", tmp_path / "a.mar")
    assert run(*options, picture, "espresso", out).returncode == 0
    known_to_the_old_servers = run(*options, picture, "airplane", out)
    assert known_to_the_old_servers.returncode == 0
    assert "does not know it" in known_to_the_old_servers.stderr
    for label, words in (("tea", "espresso"), ("crane", "1, 2"), ("--5", "LABEL")):
        done = run(*options, "--", picture, label, out)
        assert done.returncode == 1
        assert words in done.stderr
