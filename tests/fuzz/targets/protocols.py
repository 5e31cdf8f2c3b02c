"""Any text is refused with a reason or allows some version, and what it allows, written out, allows the same."""

from tlsproxy.errors import TlsProtocolsError
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion

MAX_SIZE = 64
TOKENS = (
    b"SSLv2",
    b"SSLv3",
    b"TLSv1",
    b"TLSv1.1",
    b"TLSv1.2",
    b"TLSv1.3",
    b">=",
    b"<=",
    b"!",
    b", ",
    b":",
    b"0x0303",
    b"301",
    b"None",
    b"all",
    b"+",
    b"-",
    b"tls1_2",
    b"771",
)


def one_input(data: bytes) -> None:
    """See the module."""
    text = data.decode("utf-8", "replace")
    try:
        protocols = TlsProtocols.parse(text)
    except TlsProtocolsError as error:
        assert str(error)
        return
    assert protocols.versions
    assert TlsProtocols.parse(str(protocols)) == protocols
    bounds = f">={protocols.minimum.label} <={protocols.maximum.label}"
    exclusions = "".join(f" !{version.label}" for version in protocols.excluded)
    assert TlsProtocols.parse(bounds + exclusions) == protocols
    assert all(protocols.allows(version) == (version in protocols.versions) for version in TlsVersion)
    if text.isascii():
        assert TlsProtocols.parse(text.swapcase()) == protocols
    assert TlsProtocols.parse(f" ,{text}: ") == protocols
