"""Tests for tlsproxy.net.challenges."""

from pathlib import Path

from tlsproxy.net.challenges import MAX_ANSWER, challenge_reader


def test_without_a_directory_there_is_no_reader() -> None:
    assert challenge_reader(None) is None


def test_an_answer_is_the_content_of_the_tokens_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"token.thumbprint")
    read = challenge_reader(str(tmp_path))
    assert read is not None
    assert read("token") == b"token.thumbprint"
    assert read("other") is None


def test_what_is_too_large_for_an_answer_is_none(tmp_path: Path) -> None:
    read = challenge_reader(str(tmp_path))
    assert read is not None
    (tmp_path / "large").write_bytes(bytes(MAX_ANSWER))
    assert read("large") == bytes(MAX_ANSWER)
    (tmp_path / "large").write_bytes(bytes(MAX_ANSWER + 1))
    assert read("large") is None


def test_a_directory_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    read = challenge_reader(str(tmp_path))
    assert read is not None
    assert read("token") is None
