"""TOML values to the types of the catalogue, by cattrs.

Nothing is converted on the quiet: ``true`` is no number, ``1`` no truth value, ``25`` no string. A string stands for a
list with one element, since most lists have one.
"""

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
from tlsproxy.config.declaration import FileMode, FileName, HostName, IpText
from tlsproxy.config.model import LogFormat
from tlsproxy.config.networks import IpNetwork, parse_network
from tlsproxy.config.suggest import alternatives, did_you_mean
from tlsproxy.config.toml_text import shown
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
        TlsProtocols: lambda value: TlsProtocols.parse(_string(value)),
        IpNetwork: lambda value: parse_network(_string(value)),
        ListenAddress: lambda value: parse_listen_address(_located_socket(value, files)),
        ServerAddress: lambda value: parse_server_address(_located_socket(value, files)),
        TcpAddress: lambda value: parse_tcp_listen_address(_string(value)),
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


def problems_in(error: Exception, path: str) -> Iterator[Problem]:
    """What a converter's exception says about the value at ``path``; about each bad element of a list."""
    if not isinstance(error, IterableValidationError):
        yield Problem(path, str(error))
        return
    in_elements, in_whole = error.group_exceptions()
    for exception, note in in_elements:
        yield from problems_in(exception, f"{path}[{note.index}]")
    for exception in in_whole:
        yield from problems_in(exception, path)


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
