"""tlsproxy.tls.files: reading files that options name."""

import os
from pathlib import Path

import pytest

from tests.support.certificates import write_pem
from tlsproxy.tls.files import MAX_SIZE, FileError, in_memory, read_file


def read(path: Path | str, forbidden_mode: int = 0o006) -> bytes:
    return read_file(str(path), forbidden_mode=forbidden_mode, forbidden="readable or writable")


def test_content_comes_whole(tmp_path: Path) -> None:
    assert read(write_pem(tmp_path / "file", b"content", 0o640)) == b"content"


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"^no such file or directory$"):
        read(tmp_path / "absent")


def test_a_name_with_a_nul_is_none() -> None:
    with pytest.raises(FileError, match="NUL"):
        read("a\0b")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_only_regular_files_are_read_and_a_fifo_holds_nothing_up(tmp_path: Path, make: object) -> None:
    path = tmp_path / "special"
    make(path)  # type: ignore[operator]
    with pytest.raises(FileError, match="isn't a regular file"):
        read(path)


@pytest.mark.parametrize(
    ("mode", "mended"), [(0o604, "0600"), (0o602, "0600"), (0o646, "0640"), (0o666, "0660")]
)
def test_what_others_may_do_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int, mended: str
) -> None:
    path = write_pem(tmp_path / "file", b"secret", mode)
    with pytest.raises(
        FileError, match=f"must not be readable or writable by others.*{mode:04o}.*chmod {mended}"
    ):
        read(path)


def test_the_mode_is_the_targets_and_not_a_links(tmp_path: Path) -> None:
    write_pem(tmp_path / "file", b"secret", 0o644)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(FileError, match="must not be readable"):
        read(tmp_path / "link")


def test_an_error_while_reading_is_told() -> None:
    with pytest.raises(FileError, match=r"^input/output error$"):
        read("/proc/self/mem")


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (tmp_path, "/proc/self/mem", write_pem(tmp_path / "open", b"", 0o666), tmp_path / "absent"):
        with pytest.raises(FileError):
            read(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = write_pem(tmp_path / "file", b"x" * MAX_SIZE, 0o600)
    assert len(read(path)) == MAX_SIZE
    path.write_bytes(b"x" * (MAX_SIZE + 1))
    with pytest.raises(FileError, match="more than"):
        read(path)


def test_content_in_memory_has_a_path_until_it_is_done_with() -> None:
    with in_memory(b"content") as path:
        assert Path(path).read_bytes() == b"content"
        assert Path(path).read_bytes() == b"content", "from the beginning each time"
    assert not Path(path).exists()
