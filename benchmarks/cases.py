"""What is measured: a table."""

from collections.abc import Mapping, Sequence
from typing import Literal

from attrs import field, frozen


@frozen
class Case:
    """One kind of work, by so many connections at a time."""

    name: str
    group: str
    """What ``--only`` selects."""
    title: str
    service: str
    """The proxies' port: see :data:`benchmarks.peers.SERVICES`."""
    mode: str
    """The client's: see ``load.c``."""
    connections: int
    options: Sequence[object] = field(default=(), kw_only=True)
    unit: str = field(default="", kw_only=True)
    per: float = field(default=1.0, kw_only=True)
    """How many units of the client are one of those that figures are given for."""
    figure: Literal["us", "ms"] = field(default="us", kw_only=True)


MIB = 1 << 20
SEGMENT = 32 * MIB
"""What is asked for or sent at a time on one connection; much less on many, so that they end together."""
SMALL_SEGMENT = 4 * MIB


def _bulk(mode: str, connections: int) -> Case:
    size = SEGMENT if connections == 1 else SMALL_SEGMENT
    return Case(
        f"bulk-{mode}-{connections}",
        "bulk",
        f"1 GiB {mode}, {_connections(connections)}",
        "raw",
        mode,
        connections,
        options=("--size", size),
        unit="GiB",
        per=1024 * MIB / size,
        figure="ms",
    )


def _connections(count: int) -> str:
    return f"{count} connection{'s' if count > 1 else ''}"


def _clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


CASES: Sequence[Case] = (
    *(
        Case(
            f"handshake-{key}-{count}",
            "handshake",
            f"full handshake, {key.upper()}, {_clients(count)}",
            "raw" if key == "ecdsa" else "raw-rsa",
            "handshake",
            count,
            unit="handshake",
        )
        for key in ("ecdsa", "rsa")
        for count in (1, 32, 256)
    ),
    *(
        Case(
            f"resume-{version}",
            "resume",
            f"resumed handshake, TLS {version}, 32 clients",
            "raw",
            "resume",
            32,
            options=("--tls", version),
            unit="handshake",
        )
        for version in ("1.3", "1.2")
    ),
    *(_bulk(mode, count) for mode in ("up", "down") for count in (1, 16)),
    *(
        Case(
            f"roundtrip-{count}",
            "roundtrip",
            f"64 bytes there and back, {_connections(count)}",
            "raw",
            "roundtrip",
            count,
            unit="round trip",
        )
        for count in (1, 64)
    ),
    *(
        Case(
            f"{service}-{count}",
            "smtp",
            f"SMTP session, {'STARTTLS' if service == 'smtp' else 'implicit TLS'}, {_clients(count)}",
            service,
            service,
            count,
            unit="session",
        )
        for service in ("smtp", "smtps")
        for count in (1, 20, 200)
    ),
    Case(
        "https-64", "https", "HTTPS request, keep-alive, 64 connections", "https", "https", 64, unit="request"
    ),
    Case(
        "https-new-32",
        "https",
        "HTTPS request, new connection, 32 clients",
        "https",
        "https-new",
        32,
        unit="request",
    ),
)

IDLE: Sequence[int] = (1000, 5000)
"""Idle connections whose memory is measured."""

GROWTH: Sequence[int] = (10, 100, 1000, 10000)
"""Open connections with which the same work is measured, to see how its cost grows."""

GROWING: Mapping[str, str] = {
    "handshake": "full handshake, ECDSA, 32 clients",
    "roundtrip": "64 bytes there and back, on every connection",
}
"""What that work is."""

GROUPS: Sequence[str] = (*dict.fromkeys(case.group for case in CASES), "memory", "start", "growth", "crowd")
