"""TOML values to the types of the catalogue, by cattrs.

Nothing is converted on the quiet: ``true`` is no number, ``1`` no truth value, ``25`` no string. A string stands for a
list with one element, since most lists have one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from ipaddress import ip_address
from math import isfinite
from pathlib import Path
from types import GenericAlias
from typing import Any, get_args, get_origin

from attrs import frozen
from cattrs import Converter, IterableValidationError

from tlsproxy.config.addresses import (
    ListenAddress,
    ServerAddress,
    TcpAddress,
    is_host_name,
    parse_listen_address,
    parse_server_address,
    parse_tcp_listen_address,
)
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
from tlsproxy.config.model import LogFormat
from tlsproxy.config.networks import IpNetwork, parse_network
from tlsproxy.config.suggest import alternatives, did_you_mean
from tlsproxy.config.toml_text import key_path, shown
from tlsproxy.errors import Problem
from tlsproxy.policy.protocols import TlsProtocols


@frozen
class Files:
    """How the configuration's file names become absolute."""

    directory: Path
    """The configuration file's own, absolute: a daemon changes its working directory."""
    credentials: str | None = None
    """``$CREDENTIALS_DIRECTORY``, which systemd sets for a unit with ``LoadCredential=`` (systemd.exec(5))."""

    def locate(self, name: str) -> str:
        """The absolute path of a file.

        :raises ValueError: ``name`` can't be one, or is a credential where there are none.
        """
        if not name or "\0" in name:
            raise ValueError(f"must be the name of a file, not {shown(name)}")
        if name.startswith("credential:"):
            return self._credential(name)
        return str(self.directory / name)

    def _credential(self, text: str) -> str:
        name = text.removeprefix("credential:")
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(
                f'must be "credential:NAME" with the name of a LoadCredential= setting, not "{text}"'
            )
        if not self.credentials:
            raise ValueError(
                f'"{text}" needs a systemd credential, and there are none: $CREDENTIALS_DIRECTORY isn\'t set '
                f"(LoadCredential={name}:/path in the unit)"
            )
        return str(Path(self.credentials) / name)


def values_converter(files: Files) -> Converter:
    """A converter for every type in the catalogue and the model. Its hooks raise ValueError with a message for users."""
    converter = Converter(detailed_validation=True)
    exact: Mapping[Any, Callable[[Any], Any]] = {
        bool: _boolean,
        int: _integer,
        float: _number,
        str: _string,
        FileName: lambda value: files.locate(_string(value)),
        FileMode: _file_mode,
        HostName: _host_name,
        IpText: _ip_text,
        HttpPath: _http_path,
        StatusRange: _status_range,
        WorkerCount: _worker_count,
        Server: lambda value: _server(value, converter),
        TlsProtocols: lambda value: TlsProtocols.parse(_string(value)),
        IpNetwork: lambda value: parse_network(_string(value)),
        ListenAddress: lambda value: parse_listen_address(_located_socket(value, files)),
        ServerAddress: lambda value: parse_server_address(_located_socket(value, files)),
        TcpAddress: lambda value: parse_tcp_listen_address(_address_or_port(value)),
        LogFormat: lambda value: _enum_member(value, LogFormat),  # a str to cattrs, before it is an enum
    }

    def structure_tuple(value: Any, target: Any) -> Any:
        element: Any = get_args(target)[0]
        if isinstance(value, list):
            elements: Any = GenericAlias(list, element)
            return tuple(converter.structure(value, elements))
        if not isinstance(value, str):
            raise _not("a string or a list of strings", value)
        return (converter.structure(value, element),)

    for target, structure in exact.items():
        converter.register_structure_hook(target, _hook(structure))
    converter.register_structure_hook_func(_is_tuple, structure_tuple)
    converter.register_structure_hook_func(_is_enum, _enum_member)
    return converter


def _hook(structure: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, _: structure(value)


class TableError(Exception):
    """What is wrong with a table that is a value: with each of its keys."""

    def __init__(self, errors: list[tuple[str, Exception]]) -> None:
        super().__init__("; ".join(f"{key}: {error}" for key, error in errors))
        self.errors = errors


def problems_in(error: Exception, path: str) -> Iterator[Problem]:
    """What a converter's exception says about the value at ``path``; about each bad element of a list, key of a table."""
    if isinstance(error, TableError):
        for key, each in error.errors:
            yield from problems_in(each, key_path(path, key))
        return
    if not isinstance(error, IterableValidationError):
        yield Problem(path, str(error))
        return
    in_elements, in_whole = error.group_exceptions()
    for exception, note in in_elements:
        yield from problems_in(exception, f"{path}[{note.index}]")
    for exception in in_whole:
        yield from problems_in(exception, path)


def check_bounds(declaration: Declaration, structured: Any, value: Any) -> None:
    """
    :raises ValueError: The number that ``value`` was structured to isn't within what its declaration allows.
    """
    if not declaration.within_bounds(structured):
        raise ValueError(f"must be a number {declaration.bounds}, not {shown(value)}")


def _server(value: Any, converter: Converter) -> Server:
    if isinstance(value, Mapping):
        return Server(**_table_values(value, Server, converter))
    if not isinstance(value, str):
        raise _not('an address, or {address = "host:port", weight = 1}', value)
    # Any: to mypy a union is no class.
    address: Any = ServerAddress
    return Server(address=converter.structure(value, address))


def _table_values(table: Mapping[str, Any], cls: type, converter: Converter) -> dict[str, Any]:
    """The values for an attrs class with declared keys.

    :raises TableError: with every problem.
    """
    keys = declared(cls)
    values: dict[str, Any] = {}
    errors: list[tuple[str, Exception]] = [
        (name, ValueError(f"must be given: {declaration.doc}"))
        for name, declaration in keys.items()
        if declaration.required and name not in table
    ]
    for name, value in table.items():
        declaration = keys.get(name)
        try:
            if declaration is None:
                meant = did_you_mean(name, keys)
                raise ValueError(f"isn't valid here{meant}: there is {alternatives(keys, 'and')}")  # noqa: TRY301 - noted like the others
            values[name] = converter.structure(value, declaration.type)
            check_bounds(declaration, values[name], value)
        except Exception as error:  # noqa: BLE001 - as in the reader: whatever it is, it is reported
            errors.append((name, error))
    if errors:
        raise TableError(errors)
    return values


def _not(expected: str, value: Any) -> ValueError:
    return ValueError(f"must be {expected}, not {shown(value)}")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _not("true or false", value)
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _not("a whole number", value)
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _not("a number", value)
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _not("a string", value)
    return value


def _host_name(value: Any) -> str:
    if not isinstance(value, str) or not (value == "" or is_host_name(value)):
        raise _not('a host name such as "mx.example.org"', value)
    return value


def _ip_text(value: Any) -> str:
    try:
        return str(ip_address(_string(value)))
    except ValueError:
        raise _not('an IP address such as "192.0.2.1"', value) from None


_PATH = re.compile(r"/[!-~]*", re.ASCII)
_STATUS_RANGE = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?", re.ASCII)


def _http_path(value: Any) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise _not('a path such as "/health", in printable ASCII', value)
    return value


def _status_range(value: Any) -> StatusRange:
    match = _STATUS_RANGE.fullmatch(value) if isinstance(value, str) else None
    lowest, highest = (int(match[1]), int(match[2] or match[1])) if match is not None else (1, 0)
    if lowest > highest:
        raise _not('a status code, or a range of them, in quotes: "200" or "200-399"', value)
    return StatusRange(lowest, highest)


def _address_or_port(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _string(value)


def _worker_count(value: Any) -> WorkerCount:
    if value == "auto":
        return WorkerCount()
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_WORKERS:
        raise _not(f'"auto" or a whole number from 1 to {MAX_WORKERS}', value)
    return WorkerCount(value)


def _file_mode(value: Any) -> int:
    # A TOML integer won't do: 660 would be decimal, and 0660 isn't TOML.
    valid = (
        isinstance(value, str)
        and 3 <= len(value) <= 4
        and set(value) <= set("01234567")
        and int(value, 8) <= 0o777
    )
    if not valid:
        raise ValueError(f'must be permissions in octal, in quotes: "0660", not {shown(value)}')
    return int(value, 8)


def _located_socket(value: Any, files: Files) -> str:
    text = _string(value)
    path = text.removeprefix("unix:")
    located = path != text and path not in ("", "@") and not path.startswith("@") and "\0" not in path
    return f"unix:{files.directory / path}{'/' * path.endswith('/')}" if located else text


def _is_tuple(target: Any) -> bool:
    origin: object = get_origin(target)
    return origin is tuple


def _is_enum(target: Any) -> bool:
    return isinstance(target, type) and issubclass(target, Enum)


def _enum_member(value: Any, target: type[Enum]) -> Enum:
    words = [member.value for member in target]
    if value not in words:
        meant = did_you_mean(value, words) if isinstance(value, str) else ""
        raise ValueError(f"must be {alternatives(map(shown, words))}, not {shown(value)}{meant}")
    return target(value)
