"""Reads one table at a time, and goes on after whatever is wrong, so that every problem is found at once."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import Factory, define, field, frozen
from cattrs import Converter

from tlsproxy.config.declaration import Declaration
from tlsproxy.config.tables import OPTIONS, Table, is_table
from tlsproxy.config.toml_text import key_path, shown
from tlsproxy.config.values import check_bounds, problems_in
from tlsproxy.errors import Problem
from tlsproxy.policy.protocols import TlsProtocols

MAX_NAME = 64
"""Characters of a backend's or pathway's name: it stands in every log line and metric."""


@define
class Findings:
    """What was noticed so far."""

    problems: list[Problem] = Factory(list)
    warnings: list[Problem] = Factory(list)
    tainted: set[str] = Factory(set)
    """Paths of scopes that lack an option or a pathway because of a problem: what follows from them isn't meant."""

    def problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def warn(self, path: str, message: str) -> None:
        self.warnings.append(Problem(path, message))


@frozen
class Values:
    """The valid part of a table."""

    own: dict[str, Any] = field(factory=dict)
    options: dict[str, Any] = field(factory=dict)


@frozen
class Reader:
    """Structures tables, and notes what is wrong with them."""

    converter: Converter
    findings: Findings

    def values(self, table: Table, raw: Mapping[str, Any], path: str, kind: str | None = None) -> Values:
        """The values of a table of this kind; ``kind`` is that of the listener it is in."""
        values = Values()
        for key, value in raw.items():
            declaration = table.keys.get(key)
            if declaration is not None:
                target = values.own if key in table.own else values.options
                self._structure(declaration, value, path, kind, target)
            elif key not in table.tables:
                self.findings.tainted.add(path)
                self.findings.problem(key_path(path, key), table.why_unknown(key, value))
        for key, declaration in table.own.items():
            if declaration.required and key not in raw:
                self.findings.problem(key_path(path, key), f"must be given: {declaration.doc}")
        return values

    def _structure(
        self, declaration: Declaration, value: Any, path: str, kind: str | None, target: dict[str, Any]
    ) -> None:
        """Put the value in ``target`` if it is valid."""
        where = key_path(path, declaration.name)
        try:
            _check_kind(declaration, kind)
            structured = self.converter.structure(value, declaration.type)
            check_bounds(declaration, structured, value)
        except Exception as error:  # noqa: BLE001 - cattrs raises groups, hooks raise ValueError; whatever it is, it is reported
            self.findings.problems.extend(problems_in(error, where))
            if declaration.name in (*OPTIONS, "pathway"):
                self.findings.tainted.add(path)
        else:
            target[declaration.name] = structured
            self._warn_about(structured, where)

    def _warn_about(self, value: Any, path: str) -> None:
        if isinstance(value, TlsProtocols):
            for warning in value.warnings:
                self.findings.warn(path, warning)

    def array(self, raw: Mapping[str, Any], key: str, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The tables of ``[[key]]``, each with its path."""
        value = raw.get(key, [])
        where = key_path(path, key)
        header = re.sub(r"\[\d+\]", "", where)
        if is_table(value):
            self.findings.problem(
                where, f"can be there more than once: write [[{header}]] instead of [{header}]"
            )
            value = [value]
        if not isinstance(value, list) or not all(map(is_table, value)):
            self.findings.problem(where, f"must be a table of its own: [[{header}]], not {shown(value)}")
            value = []
        for index, table in enumerate(value):
            yield f"{where}[{index}]", table

    def named(
        self, raw: Mapping[str, Any], key: str, path: str
    ) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """The tables of ``[key.NAME]``, each with its name and path."""
        value = raw.get(key, {})
        where = key_path(path, key)
        if not is_table(value):
            self.findings.problem(where, f"must be tables with names: [{where}.NAME], not {shown(value)}")
            return
        for name, table in value.items():
            path_of_table = key_path(where, name)
            if not is_table(table):
                self.findings.problem(path_of_table, f"must be in a table with a name: [{where}.NAME]")
                continue
            if not (0 < len(name) <= MAX_NAME and name.isprintable() and name.strip() == name):
                self.findings.problem(
                    path_of_table,
                    f"must have a name of 1 to {MAX_NAME} printable characters, with no space at its ends",
                )
            yield name, path_of_table, table


def _check_kind(declaration: Declaration, kind: str | None) -> None:
    if kind is not None and declaration.kinds is not None and kind not in declaration.kinds:
        kinds = ", ".join(sorted(declaration.kinds))
        raise ValueError(f"has no meaning in a {kind}_listener, it is an option of: {kinds}")
