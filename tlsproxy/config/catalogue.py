"""The keys of the configuration in words, for the reference and the man page."""

from collections.abc import Iterator
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin

from attrs import NOTHING, frozen

from tlsproxy.config.addresses import ListenAddress, ServerAddress, TcpAddress
from tlsproxy.config.backend import Server
from tlsproxy.config.declaration import (
    MAX_WORKERS,
    Declaration,
    FileMode,
    FileName,
    HostName,
    HttpPath,
    IpText,
    StatusRange,
    WorkerCount,
    declared,
)
from tlsproxy.config.networks import IpNetwork
from tlsproxy.config.settings import Settings
from tlsproxy.config.suggest import alternatives
from tlsproxy.config.toml_text import toml_text
from tlsproxy.policy.protocols import TlsProtocols


@frozen
class Entry:
    """A key, described."""

    name: str
    type: str
    """What a value must be: ``"close" or "warn"``, ``number from 0.1 to 3600``."""
    default: str
    """As in the file; empty: not set, ``required``: there is none."""
    unit: str | None
    kinds: frozenset[str] | None
    """Kinds of listener that know it; None for all."""
    doc: str
    """One paragraph, in Markdown."""


def entries(cls: type = Settings) -> Iterator[Entry]:
    """The options of a session; or the own keys of a table, given its class in :mod:`tlsproxy.config.model`."""
    for declaration in declared(cls).values():
        yield Entry(
            declaration.name,
            _type_text(declaration),
            default_text(declaration),
            declaration.unit,
            declaration.kinds,
            declaration.doc,
        )


def value_text(value: Any) -> str:
    """A structured value as it could stand in the file; empty where it is None."""
    match value:
        case None:
            return ""
        case TlsProtocols():
            return toml_text(value.text)
        case StatusRange():
            return toml_text(str(value))
        case WorkerCount():
            return toml_text(value.wanted or "auto")
        case Enum():
            return toml_text(value.value)
        case _:
            return toml_text(value)


def default_text(declaration: Declaration) -> str:
    """A default as it could stand in the file."""
    if declaration.default is NOTHING:
        return "required"
    return f'"{declaration.default:04o}"' if declaration.type is FileMode else value_text(declaration.default)


_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "string",
    FileName: "file name",
    FileMode: "octal permissions in a string",
    HostName: "host name",
    IpText: "IP address",
    HttpPath: "path of a URL",
    StatusRange: "status code or range of them in a string",
    WorkerCount: f'"auto" or whole number from 1 to {MAX_WORKERS}',
    Server: "address or table",
    TlsProtocols: "list of protocols in a string",
    IpNetwork: "network",
    ListenAddress: "address",
    ServerAddress: "address",
    TcpAddress: "address, or port of 127.0.0.1",
}


def _type_text(declaration: Declaration) -> str:
    words = _words(declaration.type)
    return f"{words} {declaration.bounds}" if declaration.bounds else words


def _words(annotation: Any) -> str:
    if annotation in _WORDS:
        return _WORDS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return alternatives(toml_text(member.value) for member in annotation)
    element = next(argument for argument in get_args(annotation) if argument is not NoneType)
    words = _words(element)
    return f"{words}, or a list of them" if get_origin(annotation) is tuple else words
