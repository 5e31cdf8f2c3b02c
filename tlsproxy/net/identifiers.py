"""What a session is called in the log: numbers that no two of a service have, and short, since every line has one."""

from itertools import count

_numbers = count(1)
_prefix = ""


def use_prefix(prefix: str) -> None:
    """Have all identifiers of this process begin with ``prefix``: one of several that serve has one of its own."""
    global _prefix  # noqa: PLW0603 - as the numbers, it is the process's
    _prefix = prefix


def next_identifier() -> str:
    """An identifier that wasn't given before, ``2f`` or with a prefix ``1.0.2f``."""
    return f"{_prefix}{next(_numbers):x}"
