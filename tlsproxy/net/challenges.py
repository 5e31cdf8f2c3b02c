"""Answers to ACME http-01 challenges (RFC 8555 §8.3), as an ACME client leaves them in a directory."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_ANSWER: Final = 4096
"""Bytes of an answer: a token and the thumbprint of a key have less than 200."""


def challenge_reader(directory: str | None) -> Callable[[str], bytes | None] | None:
    """A function from a challenge's token to its answer; None where there is no ``directory``.

    The token names a file there and has nothing but letters, digits, ``-`` and ``_``. The file is small, and read within
    the reactor. None for a token whose file isn't there, isn't readable, or is no answer by its size.
    """
    if directory is None:
        return None
    base = Path(directory)

    def read(token: str) -> bytes | None:
        with suppress(OSError), (base / token).open("rb") as file:
            answer = file.read(MAX_ANSWER + 1)
            return answer if len(answer) <= MAX_ANSWER else None
        return None

    return read
