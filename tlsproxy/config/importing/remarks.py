"""What has to be said about a translation."""

from collections.abc import Iterable, Iterator
from enum import Enum

from attrs import field, frozen

from tlsproxy.config.toml_text import MAX_SHOWN


class Severity(Enum):
    """How much a remark matters."""

    LOST = "not carried over"
    """A setting that has no counterpart, or that somebody has to look at."""
    NOTE = "note"
    """What is carried over, and may not do what its author thought."""


def printable(text: str) -> str:
    """``text`` on one line, whatever is in it: what isn't printable is escaped."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def _short(text: str) -> str:
    line = printable(text)
    return line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 1]}…"


@frozen
class Remark:
    """One remark."""

    severity: Severity
    setting: str = field(converter=_short)
    """As it stands in the other program's file: ``smtpd_tls_ciphers = high``."""
    where: str = field(converter=_short)
    """File and line, or file and service; empty for what is about no line."""
    message: str = field(converter=printable)

    def __str__(self) -> str:
        setting = f"{self.setting} ({self.where})" if self.where else self.setting
        return f"{setting}: {self.message}" if setting else self.message

    @property
    def comment(self) -> str:
        """As it stands in the TOML document."""
        return f"{self.severity.value}: {self}"


def lost(setting: str, where: str, message: str) -> Remark:
    """A remark about a setting that isn't carried over."""
    return Remark(Severity.LOST, setting, where, message)


def note(setting: str, where: str, message: str) -> Remark:
    """A remark about a setting that is."""
    return Remark(Severity.NOTE, setting, where, message)


def each_once(remarks: Iterable[Remark]) -> Iterator[Remark]:
    """Remarks without those that say the same of the same setting, in another service."""
    return iter({(remark.severity, remark.setting, remark.message): remark for remark in remarks}.values())


@frozen
class Imported:
    """A translation."""

    toml: str
    remarks: tuple[Remark, ...]

    @property
    def complete(self) -> bool:
        """Whether everything was carried over."""
        return all(remark.severity is not Severity.LOST for remark in self.remarks)


class ImportFailed(Exception):
    """Nothing can be made of the files; the message says why.

    :param remarks: What was found on the way.
    """

    def __init__(self, message: str, remarks: Iterable[Remark] = ()) -> None:
        super().__init__(message)
        self.remarks = tuple(remarks)
