"""A configuration file to the model, with every problem found at once.

A key that isn't valid is noted and left out, and everything else is still checked. What then stands is a
:class:`Draft`; it becomes a configuration when there was nothing to note.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, define, evolve, frozen

from tlsproxy.config.addresses import UnixAddress
from tlsproxy.config.backend import Backend
from tlsproxy.config.backend_checks import check_backends
from tlsproxy.config.checks import check_addresses, check_identity, check_use
from tlsproxy.config.model import Configuration, Listen, Listener, Pathway, PathwayGroup, Peer
from tlsproxy.config.networks import IpNetwork
from tlsproxy.config.reader import Findings, Reader, Values
from tlsproxy.config.suggest import alternatives, did_you_mean
from tlsproxy.config.tables import BACKEND, GROUP, LISTEN, LISTENER, LISTENER_KEYS, PATHWAY, PEER, TOP, Table
from tlsproxy.config.toml_text import key_path, shown
from tlsproxy.config.values import Files, values_converter
from tlsproxy.errors import ConfigurationError, Problem

MAX_FILE = 16 * 1024 * 1024
"""Bytes of a configuration file: a hundred thousand peers fit, and ``/dev/zero`` doesn't fill the memory."""


@frozen
class Draft:
    """What stands of a file once everything that isn't valid is left out."""

    configuration: Configuration
    """May lack whatever ``problems`` names: not to be used while there are any."""
    problems: tuple[Problem, ...]
    tainted: frozenset[str]
    """Paths of scopes that lack an option or a pathway because of a problem: what follows from them isn't meant."""

    def finished(self) -> Configuration:
        """
        :raises ConfigurationError: with every problem.
        """
        if self.problems:
            raise ConfigurationError(self.problems)
        return self.configuration


def load(path: str | os.PathLike[str]) -> Configuration:
    """The configuration in a file.

    :raises ConfigurationError: with every problem; the file can't be read, isn't TOML, or isn't valid.
    """
    return load_draft(path).finished()


def parse(text: str, source: str) -> Configuration:
    """The configuration in ``text``, which came from the file ``source``. File names in it are relative to that file.

    :raises ConfigurationError: with every problem; the text isn't TOML, or isn't valid.
    """
    return parse_draft(text, source).finished()


def load_draft(path: str | os.PathLike[str]) -> Draft:
    """What stands of a file.

    :raises ConfigurationError: The file can't be read, or isn't TOML.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise _unusable(f"can't read {os.fspath(path)}: {error.strerror}") from error
    if len(content) > MAX_FILE:
        raise _unusable(f"{os.fspath(path)} is larger than {MAX_FILE} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unusable(
            f"line {line}: must be UTF-8, and has the byte 0x{content[error.start]:02x}"
        ) from error
    return parse_draft(text, os.fspath(path))


def parse_draft(text: str, source: str) -> Draft:
    """What stands of a file's ``text``.

    :raises ConfigurationError: The text isn't TOML.
    """
    files = Files(Path(source).absolute().parent, os.environ.get("CREDENTIALS_DIRECTORY"))
    findings = Findings()
    document = _Document(_toml(text), Reader(values_converter(files), findings))
    configuration = document.configuration(source)
    check_addresses(configuration, findings)
    check_use(configuration, findings)
    check_identity(configuration, findings)
    check_backends(configuration, findings)
    return Draft(
        evolve(configuration, warnings=tuple(findings.warnings)),
        tuple(findings.problems),
        frozenset(findings.tainted),
    )


def _unusable(message: str) -> ConfigurationError:
    return ConfigurationError((Problem("", message),))


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _unusable("arrays or tables are nested too deeply") from error
    # TOMLDecodeError is one; a number with more digits than int() takes is another.
    except ValueError as error:
        raise _unusable(_syntax_message(str(error), text.splitlines())) from error


def _syntax_message(message: str, lines: list[str]) -> str:
    """tomllib's message with the position first, and the line that it is about."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if match is None:
        return f"isn't TOML: {message}"
    what, line, column = match.groups()
    if line is None:
        return f"line {len(lines)}, at the end of the file: {what}"
    content = lines[int(line) - 1].strip() if int(line) <= len(lines) else ""
    return f"line {line}, column {column}: {what}, in: {content[:80]}"


@define
class _Document:
    """A file while it is turned into the model. Pathways and backends come first: listeners refer to them."""

    raw: Mapping[str, Any]
    reader: Reader
    groups: dict[str, PathwayGroup] = Factory(dict)
    pathways: dict[str, Pathway] = Factory(dict)
    backends: dict[str, Backend] = Factory(dict)

    @property
    def findings(self) -> Findings:
        return self.reader.findings

    def configuration(self, source: str) -> Configuration:
        top = self.reader.values(TOP, self.raw, "")
        self._read_backends()
        self._read_pathways(self.raw, "", None)
        self._read_groups()
        listeners = tuple(
            self._listener(kind, table, path)
            for key, kind in LISTENER_KEYS.items()
            for path, table in self.reader.array(self.raw, key, "")
        )
        if not any(key in self.raw for key in LISTENER_KEYS):
            kinds = alternatives(f"[[{key}]]" for key in LISTENER_KEYS)
            self.findings.problem("", f"there is no listener: at least one is needed, {kinds}")
        return Configuration(
            source=source,
            **top.own,
            options=top.options,
            pathway_groups=self.groups,
            pathways=self.pathways,
            backends=self.backends,
            listeners=listeners,
        )

    def _read_backends(self) -> None:
        for name, path, table in self.reader.named(self.raw, "backend", ""):
            told = len(self.findings.problems)
            values = self.reader.values(BACKEND, table, path)
            if values.own.setdefault("servers", ()) == () and table.get("servers") == []:
                self.findings.problem(key_path(path, "servers"), "must name at least one server")
            if len(self.findings.problems) > told:
                self.findings.tainted.add(path)
            self.backends[name] = Backend(name=name, path=path, **values.own)

    def _read_groups(self) -> None:
        for name, path, table in self.reader.named(self.raw, "pathway_group", ""):
            values = self.reader.values(GROUP, table, path)
            self.groups[name] = PathwayGroup(name=name, path=path, options=values.options)
            self._read_pathways(table, path, name)

    def _read_pathways(self, parent: Mapping[str, Any], path_of_parent: str, group: str | None) -> None:
        for name, path, table in self.reader.named(parent, "pathway", path_of_parent):
            values = self.reader.values(PATHWAY, table, path)
            if name in self.pathways:
                self.findings.problem(
                    path, f"has the name of {self.pathways[name].path}: a pathway's name must be unique"
                )
            self.pathways[name] = Pathway(name=name, group=group, path=path, options=values.options)

    def _listener(self, kind: str, table: Mapping[str, Any], path: str) -> Listener:
        values = self._scope(LISTENER, table, path, kind)
        self._check_backend(values.own.setdefault("backend", None), path)
        if not table.get("listen"):
            header = f"{kind}_listener.listen"
            self.findings.problem(
                key_path(path, "listen"), f"is missing: a listener needs at least one [[{header}]]"
            )
        return Listener(
            kind=kind,
            path=path,
            **values.own,
            options=values.options,
            peers=self._peers(table, path, kind),
            listens=self._listens(table, path, kind),
        )

    def _check_backend(self, backend: str | None, path: str) -> None:
        if backend is not None and backend not in self.backends:
            self.findings.problem(
                key_path(path, "backend"),
                f"{shown(backend)} is no backend{_instead(backend, self.backends, 'backend')}",
            )

    def _listens(self, parent: Mapping[str, Any], path_of_parent: str, kind: str) -> tuple[Listen, ...]:
        listens = []
        for path, table in self.reader.array(parent, "listen", path_of_parent):
            values = self._scope(LISTEN, table, path, kind)
            peers = self._peers(table, path, kind)
            if "address" in values.own:
                listen = Listen(path=path, **values.own, options=values.options, peers=peers)
                self._check_listen(listen, table)
                listens.append(listen)
        return tuple(listens)

    def _check_listen(self, listen: Listen, table: Mapping[str, Any]) -> None:
        over_unix = isinstance(listen.address, UnixAddress)
        if "unix_mode" in table and not over_unix:
            self.findings.problem(
                key_path(listen.path, "unix_mode"),
                f'is valid with an address "unix:/path" alone, not with "{listen.address}"',
            )
        for peer in listen.peers if over_unix else ():
            self.findings.warn(peer.path, f"has no effect: a client on {listen.address} has no IP address")

    def _peers(self, parent: Mapping[str, Any], path_of_parent: str, kind: str) -> tuple[Peer, ...]:
        peers: dict[IpNetwork, Peer] = {}
        for path, table in self.reader.array(parent, "peer", path_of_parent):
            values = self._scope(PEER, table, path, kind)
            if "network" in values.own:
                peer = Peer(path=path, **values.own, options=values.options)
                other = peers.setdefault(peer.network, peer)
                if other is not peer:
                    self.findings.problem(
                        key_path(path, "network"),
                        f"{peer.network} is the network of {other.path} as well: keep one of them",
                    )
        return tuple(peers.values())

    def _scope(self, table: Table, raw: Mapping[str, Any], path: str, kind: str) -> Values:
        """The values of a table that a pathway can be attached to."""
        values = self.reader.values(table, raw, path, kind)
        pathway = values.own.get("pathway")
        if pathway is not None and pathway not in self.pathways:
            self.findings.tainted.add(path)
            self.findings.problem(
                key_path(path, "pathway"), f"{shown(pathway)} {self._why_no_pathway(pathway)}"
            )
            values.own["pathway"] = None
        return values

    def _why_no_pathway(self, name: str) -> str:
        if name not in self.groups:
            return f"is no pathway{_instead(name, self.pathways, 'pathway')}"
        members = [pathway.name for pathway in self.pathways.values() if pathway.group == name]
        instead = (
            f": attach one of its pathways, {alternatives(map(shown, members))}"
            if members
            else ", and has none"
        )
        return f"is a pathway group, which can't be attached{instead}"


def _instead(name: str, possible: Mapping[str, object], what: str) -> str:
    """What could have been named."""
    if not possible:
        return f": there is none, write [{what}.NAME]"
    return did_you_mean(name, possible) or f": there is {alternatives(map(shown, possible), 'and')}"
