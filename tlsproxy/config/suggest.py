"""What somebody may have meant by a word that isn't valid."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, possible: Iterable[str]) -> str | None:
    """The one of ``possible`` that ``word`` looks like; case, and hyphens for underscores, don't matter."""
    by_plain = {_plain(name): name for name in possible}
    matches = get_close_matches(_plain(word), by_plain, n=1)
    return by_plain[matches[0]] if matches else None


def did_you_mean(word: str, possible: Iterable[str]) -> str:
    """A question to end a message with, or nothing."""
    meant = closest(word, possible)
    return "" if meant is None else f' (did you mean "{meant}"?)'


def alternatives(words: Iterable[str], conjunction: str = "or") -> str:
    """``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_")
