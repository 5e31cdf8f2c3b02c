"""Figures and times as people read them. Everything is UTC: whoever compares it with a log in another zone sees that."""

from datetime import UTC, datetime

NOTHING = "\N{EN DASH}"
"""Stands where there is nothing to say."""

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def printable(value: str, limit: int) -> str:
    """``value`` with escapes for what can't be printed, and cut after ``limit`` characters."""
    shown = value if value.isprintable() else "".join(map(_shown, value))
    return shown if len(shown) <= limit else shown[: limit - 1] + ELLIPSIS


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def count(value: float) -> str:
    """``12,345``."""
    return f"{round(value):,}"


def size(value: float) -> str:
    """``1.2 GiB``."""
    power = 0
    while value >= 1024 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.{int(power > 0 and value < 100)}f} {_UNITS[power]}"


def span(seconds: float) -> str:
    """``3 d 4 h``, ``4 h 12 min``, ``12 min``, ``40 s``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def latency(seconds: float | None) -> str:
    """``≤ 2.5 ms``: the upper bound of a histogram's bucket."""
    if seconds is None:
        return NOTHING
    return f"≤ {seconds:g} s" if seconds >= 1 else f"≤ {seconds * 1000:g} ms"


def share(part: float, whole: float) -> str:
    """``62 %``; what is little but not nothing is ``< 1 %``."""
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    if percent < 1:
        return "< 1 %"
    return "> 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def plural(number: float, noun: str, nouns: str | None = None) -> str:
    """``1 day``, ``2 days``.

    :param nouns: For those that take more than an s.
    """
    return f"{count(number)} {noun if round(number) == 1 else nouns or noun + 's'}"


def phrase(word: str) -> str:
    """A word of the log as the page says it: ``starttls_injection`` as ``STARTTLS injection``."""
    return " ".join(_WORDS.get(part, part) for part in word.split("_"))


_WORDS = {word.lower(): word for word in ("STARTTLS", "TLS", "XCLIENT", "HTTP", "AUTH", "SMTP", "SNI")}


def moment(when: float) -> str:
    """``2026-11-23 08:00:00 UTC``."""
    return f"{_utc(when):%Y-%m-%d %H:%M:%S} UTC"


def day(when: float) -> str:
    """``2026-11-23``."""
    return f"{_utc(when):%Y-%m-%d}"


def machine_time(when: float) -> str:
    """RFC 3339, for ``<time datetime>``."""
    return f"{_utc(when):%Y-%m-%dT%H:%M:%SZ}"


def _utc(when: float) -> datetime:
    return datetime.fromtimestamp(when, UTC)
