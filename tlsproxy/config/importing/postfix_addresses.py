"""Where a Postfix service listens: its name in ``master.cf``, ``inet_interfaces`` and ``inet_protocols``."""

from collections.abc import Iterator
from ipaddress import ip_address

from attrs import frozen

from tlsproxy.config.addresses import TcpAddress
from tlsproxy.config.importing.options import Options
from tlsproxy.config.importing.postfix_files import Service
from tlsproxy.config.importing.postfix_parameters import Parameters
from tlsproxy.config.importing.remarks import Remark, lost

PORTS = {"smtp": 25, "urd": 465, "ssmtp": 465, "smtps": 465, "submissions": 465, "submission": 587}
"""Names of services(5) that mail servers listen on."""

_ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - written into a configuration
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


@frozen
class Place:
    """Where a service listens."""

    port: int
    addresses: tuple[TcpAddress, ...]
    loopback: bool
    """Whether ``master.cf`` itself binds it to this machine: a content filter's way back, not for clients."""


def place_of(service: Service, parameters: Parameters, options: Options) -> Place | None:
    """Where an ``inet`` service listens; None where that can't be told."""
    host, _, name = service.name.rpartition(":")
    port = PORTS.get(name.lower(), _number(name))
    if port is None:
        message = f"which port {name!r} is isn't known here: write its number"
        options.remark(lost(service.name, service.where, message))
        return None
    hosts = list(dict.fromkeys(_hosts(host, service, parameters, options)))
    if not hosts:
        options.remark(
            lost(
                service.name,
                service.where,
                f"put the address to listen on in the place of {_LOOPBACK[4]}: names aren't looked up here",
            )
        )
        hosts = [_LOOPBACK[4]]
    bound = bool(host) and all(ip_address(each).is_loopback for each in hosts)
    return Place(port, tuple(TcpAddress(each, port) for each in hosts), bound)


def _number(text: str) -> int | None:
    valid = text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= 65535
    return int(text) if valid else None


def _families(parameters: Parameters) -> tuple[int, ...]:
    words = {word.lower() for word in parameters.strings("inet_protocols")}
    families = tuple(number for number, word in ((4, "ipv4"), (6, "ipv6")) if word in words or "all" in words)
    if not families:
        parameters.remarks.append(parameters.lost("inet_protocols", "is none of all, ipv4, ipv6"))
    return families or (4, 6)


def _hosts(host: str, service: Service, parameters: Parameters, options: Options) -> Iterator[str]:
    families = _families(parameters)
    if host:
        yield from _resolved(host, families, lost(service.name, service.where, _NAMED), options)
        return
    for word in parameters.strings("inet_interfaces"):
        match word.lower():
            case "all":
                yield from (_ANY[family] for family in families)
            case "loopback-only":
                yield from (_LOOPBACK[family] for family in families)
            case _:
                yield from _resolved(word, families, parameters.lost("inet_interfaces", _NAMED), options)


_NAMED = "is a name, or none: write the address that stands for it, names aren't looked up here"


def _resolved(word: str, families: tuple[int, ...], remark: Remark, options: Options) -> Iterator[str]:
    """The addresses of a host.

    :param remark: What is said of a name.
    """
    if word.lower() == "localhost":
        yield from (_LOOPBACK[family] for family in families)
        return
    try:
        address = ip_address(word.strip("[]"))
    except ValueError:
        options.remark(remark)
        return
    mapped = getattr(address, "ipv4_mapped", None)
    if "%" not in word and address.version in families:
        yield str(mapped or address)
