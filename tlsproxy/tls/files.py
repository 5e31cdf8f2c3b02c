"""Reading the files that TLS options name: each once, bounded, and judged by what was opened."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MAX_SIZE: Final = 4 * 1024 * 1024
"""Bytes. The CA bundle of a whole operating system has a quarter of a million; a certificate's chain a few thousand."""


class FileError(Exception):
    """A file can't be used; the message says why, without its name."""


def read_file(path: str, *, forbidden_mode: int, forbidden: str) -> bytes:
    """The content of a regular file.

    :param forbidden_mode: Permission bits that it must not have.
    :param forbidden: What they allow, for the message.
    :raises FileError: It isn't there, can't be read, is too long, or others may do what they must not.
    """
    try:
        # Without O_NONBLOCK a FIFO would hold up the start for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise FileError(_reason(error)) from error
    except ValueError as error:
        raise FileError("isn't a file name: it has a NUL in it") from error
    try:
        _check_mode(os.fstat(descriptor).st_mode, forbidden_mode, forbidden)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise FileError(_reason(error)) from error
    finally:
        os.close(descriptor)
    if len(content) > MAX_SIZE:
        raise FileError(f"has more than {MAX_SIZE} bytes")
    return content


def _check_mode(mode: int, forbidden_mode: int, forbidden: str) -> None:
    if not stat.S_ISREG(mode):
        raise FileError("isn't a regular file")
    permissions = stat.S_IMODE(mode)
    if permissions & forbidden_mode:
        raise FileError(
            f"must not be {forbidden} by others: its mode is {permissions:04o}, "
            f"`chmod {permissions & ~forbidden_mode:04o}` mends it"
        )


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """A path under which ``content`` can be read: for OpenSSL functions that take files alone.

    It is given what was checked, and doesn't read a path again that may lead elsewhere by then.
    """
    descriptor = os.memfd_create("tlsproxy", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(content)
        yield f"/proc/self/fd/{descriptor}"
