"""The report of a probe, as a table or as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tlsproxy.cli.server_probe.findings import Finding, Verdict, worst

WIDTH: Final = 110
"""Characters of a line; a longer detail goes on below, under its column."""


def as_table(findings: Sequence[Finding], about: str) -> Iterator[str]:
    """A line for each finding, then what they come to."""
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        first, *more = _wrapped(_printable(finding.detail), WIDTH - width - 11)
        yield f"{finding.verdict.value:<7}  {finding.what:<{width}}  {first}".rstrip()
        for line in more:
            yield f"{'':<{width + 11}}{line}"
    counts = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    told = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
    yield f"\n{about}: {told}"


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _printable(text: str) -> str:
    """On one line, whatever a server says."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def as_json(findings: Sequence[Finding], about: dict[str, Any]) -> dict[str, Any]:
    """The same for programs."""
    return {
        **about,
        "verdict": worst(findings).value,
        "findings": [
            {
                "what": each.what,
                "verdict": each.verdict.value,
                "detail": _printable(each.detail),
                "facts": dict(each.facts),
            }
            for each in findings
        ],
    }
