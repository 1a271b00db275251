"""Logs are read as they grow: whole lines, each once."""

from pathlib import Path

from intgrads.serving.logs import NewLines


def test_each_line_is_read_once_and_whole(tmp_path: Path) -> None:
    log = NewLines(tmp_path / "model.log")
    assert log.read() == []
    with log.path.open("ab", buffering=0) as file:
        file.write(b"one\ntw")
        assert log.read() == ["one"]
        file.write(b"o\nthree \x85 \xe2\x80\xa8 is one line\n")
        assert log.read() == ["two", "three � \u2028 is one line"]
        assert log.read() == []


def test_a_log_that_is_begun_anew(tmp_path: Path) -> None:
    log = NewLines(tmp_path / "model.log")
    log.path.write_text("one\ntwo\nthree\n")
    assert len(log.read()) == 3
    log.path.write_text("four\n")
    assert log.read() == ["four"]
    log.path.unlink()
    assert log.read() == []
