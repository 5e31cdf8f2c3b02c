"""Writes the parts of the documents that follow from the code: ``python docs/generate.py``, or ``make docs``.

A document marks such a part with ``<!-- generated: NAME -->`` and ``<!-- end -->``; what stands between is replaced. The
manual pages are whole files, by ``docs/manual.py``.
"""

import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from tlsproxy.config.backend import Backend, Server
from tlsproxy.config.catalogue import Entry, entries
from tlsproxy.config.model import Configuration, Listen, Listener, Peer
from tlsproxy.config.settings import Settings
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.service_figures import DECLARED

DOCS = Path(__file__).parent

MANUAL = runpy.run_path(str(DOCS / "manual.py"))

_PART = re.compile(r"(<!-- generated: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

TABLES: Mapping[str, type] = {
    "At the top of the file": Configuration,
    "In `[backend.NAME]`": Backend,
    "In an element of `servers`": Server,
    "In `[[KIND_listener]]`": Listener,
    "In `[[KIND_listener.listen]]`": Listen,
    "In `[[KIND_listener.peer]]` and `[[KIND_listener.listen.peer]]`": Peer,
}
"""Tables with keys of their own."""


def options() -> Iterator[str]:
    """The options of a session."""
    for entry in entries(Settings):
        yield f"### `{entry.name}`\n"
        yield f"{_facts(entry)}\n\n{entry.doc}\n"


def tables() -> Iterator[str]:
    """The keys that belong to a table, rather than to sessions."""
    for where, cls in TABLES.items():
        yield f"### {where}\n"
        for entry in entries(cls):
            yield f"- **`{entry.name}`**: {_facts(entry).rstrip('.')}. {entry.doc}"
        yield ""


def command_line() -> Iterator[str]:
    """Every command with its arguments."""
    for command in MANUAL["commands"]():
        yield f"### `{command.name}`\n"
        yield f"```text\n{command.usage}\n```\n"
        yield f"{command.description or command.summary}\n"
        yield from (f"- `{each.invocation}`: {each.help}" for each in command.arguments)
        yield f"\n{command.epilog}\n" if command.epilog else ""


def exit_statuses() -> Iterator[str]:
    """What the exit status of every command means."""
    return MANUAL["exit_statuses"]()  # type: ignore[no-any-return]  # runpy knows no types


def metrics() -> Iterator[str]:
    """Every metric of ours."""
    yield "| Metric | Type | Labels | What it tells |"
    yield "| --- | --- | --- | --- |"
    for metric in declared_metrics():
        [family] = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "none"  # noqa: SLF001 - it has no other name
        yield f"| `{name}` | {family.type} | {labels} | {family.documentation} |"
    for figure in DECLARED:
        yield f"| `{figure}` | {figure.kind} | none | {figure.documentation} |"


def declared_metrics() -> Iterator[MetricWrapperBase]:
    """Our metrics, in the order in which they are declared."""
    for collector in Metrics().registry._collector_to_names:  # noqa: SLF001 - families without series can't be had otherwise
        if isinstance(collector, MetricWrapperBase):
            yield collector


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "options": options,
    "tables": tables,
    "metrics": metrics,
    "command_line": command_line,
    "exit_statuses": exit_statuses,
}


def generated(text: str) -> str:
    """A document with its generated parts as they have to be."""
    return _PART.sub(
        lambda part: part[1] + "\n" + "\n".join(PARTS[part["name"]]()).strip() + "\n\n" + part[3], text
    )


def _facts(entry: Entry) -> str:
    default = (
        f"default `{entry.default}`"
        if entry.default not in ("", "required")
        else entry.default or "not set by default"
    )
    kinds = f" Only for {' and '.join(sorted(entry.kinds))} listeners." if entry.kinds else ""
    return f"{entry.type[0].upper()}{entry.type[1:]}; {default}.{kinds}"


if __name__ == "__main__":
    for document in sorted(DOCS.glob("*.md")):
        before = document.read_text()
        after = generated(before)
        if after != before:
            document.write_text(after)
    MANUAL["write"](TABLES)
