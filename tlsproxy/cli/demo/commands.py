"""The commands that the demonstration prints: derived from the settings in force, so that what they promise is so."""

from collections.abc import Iterator
from typing import Final

from tlsproxy.config.settings import Settings
from tlsproxy.policy.handshakes import Outcome
from tlsproxy.policy.protocols import TlsVersion

_FLAGS: Final = {
    TlsVersion.TLS1_0: "-tls1",
    TlsVersion.TLS1_1: "-tls1_1",
    TlsVersion.TLS1_2: "-tls1_2",
    TlsVersion.TLS1_3: "-tls1_3",
}
_RENEGOTIABLE: Final = (TlsVersion.TLS1_2, TlsVersion.TLS1_1, TlsVersion.TLS1_0)


def stream_commands(address: str, settings: Settings, ca_file: str) -> Iterator[tuple[str, str]]:
    """Commands to try on a stream listen.

    :param address: ``host:port`` to connect to.
    :returns: For each what will be seen, and the command.
    """
    for version in TlsVersion:
        verdict = "accepted" if settings.tls_protocols.allows(version) else "refused"
        client = _s_client(address, version, ca_file)
        yield f"{version.label} is {verdict}", f"(echo hello; sleep 1) | {client} -brief"
    renegotiable = [version for version in _RENEGOTIABLE if settings.tls_protocols.allows(version)]
    if renegotiable:
        client = _s_client(address, renegotiable[0], ca_file)
        yield (
            _renegotiation(settings),
            f"(echo hello; sleep 1; echo R; sleep 1; echo still here; sleep 1) | {client}",
        )


def _s_client(address: str, version: TlsVersion, ca_file: str) -> str:
    # OpenSSL's own default level refuses the signatures of TLS 1.0 and 1.1.
    cipher = "" if version >= TlsVersion.TLS1_2 else " -cipher DEFAULT@SECLEVEL=0"
    return f"openssl s_client -connect {address} {_FLAGS[version]}{cipher} -CAfile {ca_file}"


def _renegotiation(settings: Settings) -> str:
    outcome = settings.handshake_policy.renegotiation_outcome(1)
    return {
        Outcome.ALLOWED: "a renegotiation attempt (R) is allowed",
        Outcome.WARNED: "a renegotiation attempt (R) is answered with no_renegotiation, the connection is kept",
        Outcome.CLOSED: "a renegotiation attempt (R) is answered with no_renegotiation, the connection is closed",
    }[outcome]
