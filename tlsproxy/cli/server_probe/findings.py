"""What a probe found, and how good or bad that is."""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen


class Verdict(Enum):
    """How good something is; in the order in which one overrules another."""

    BAD = "bad"
    UNKNOWN = "unknown"
    WARN = "warn"
    OK = "ok"


@frozen
class Finding:
    """One line of the report."""

    what: str
    """Stable: scripts select by it."""
    verdict: Verdict
    detail: str
    facts: Mapping[str, Any] = field(factory=dict)
    """The same for programs; JSON values."""


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict on all of them. What could not be found out is no reason to be calm, nor to cry."""
    found = {finding.verdict for finding in findings}
    return next((verdict for verdict in Verdict if verdict in found), Verdict.OK)


def ok(what: str, detail: str, **facts: Any) -> Finding:
    return Finding(what, Verdict.OK, detail, facts)


def warn(what: str, detail: str, **facts: Any) -> Finding:
    return Finding(what, Verdict.WARN, detail, facts)


def bad(what: str, detail: str, **facts: Any) -> Finding:
    return Finding(what, Verdict.BAD, detail, facts)


def unknown(what: str, detail: str, **facts: Any) -> Finding:
    return Finding(what, Verdict.UNKNOWN, detail, facts)
