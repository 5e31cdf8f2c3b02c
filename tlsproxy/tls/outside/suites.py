"""Cipher suites by their number, with what is to be said against them.

Also those that no TLS library of today has: a server may still accept them, and it is asked by number. Names are OpenSSL's,
numbers those of the IANA registry "TLS Cipher Suites". Pre-shared keys, SRP and DSS are left out: a server accepts them for
clients that it has an arrangement with.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

TLS13_SUITES: Final[Mapping[int, str]] = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0x1304: "TLS_AES_128_CCM_SHA256",
    0x1305: "TLS_AES_128_CCM_8_SHA256",
}
"""RFC 8446 §B.4."""

OLD_SUITES: Final[Mapping[int, str]] = {
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0x009F: "DHE-RSA-AES256-GCM-SHA384",
    0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
    0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
    0xCCAA: "DHE-RSA-CHACHA20-POLY1305",
    0xC0AF: "ECDHE-ECDSA-AES256-CCM8",
    0xC0AD: "ECDHE-ECDSA-AES256-CCM",
    0xC0A3: "DHE-RSA-AES256-CCM8",
    0xC09F: "DHE-RSA-AES256-CCM",
    0xC05D: "ECDHE-ECDSA-ARIA256-GCM-SHA384",
    0xC061: "ECDHE-ARIA256-GCM-SHA384",
    0xC053: "DHE-RSA-ARIA256-GCM-SHA384",
    0x00A7: "ADH-AES256-GCM-SHA384",
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0x009E: "DHE-RSA-AES128-GCM-SHA256",
    0xC0AE: "ECDHE-ECDSA-AES128-CCM8",
    0xC0AC: "ECDHE-ECDSA-AES128-CCM",
    0xC0A2: "DHE-RSA-AES128-CCM8",
    0xC09E: "DHE-RSA-AES128-CCM",
    0xC05C: "ECDHE-ECDSA-ARIA128-GCM-SHA256",
    0xC060: "ECDHE-ARIA128-GCM-SHA256",
    0xC052: "DHE-RSA-ARIA128-GCM-SHA256",
    0x00A6: "ADH-AES128-GCM-SHA256",
    0xC024: "ECDHE-ECDSA-AES256-SHA384",
    0xC028: "ECDHE-RSA-AES256-SHA384",
    0x006B: "DHE-RSA-AES256-SHA256",
    0xC073: "ECDHE-ECDSA-CAMELLIA256-SHA384",
    0xC077: "ECDHE-RSA-CAMELLIA256-SHA384",
    0x00C4: "DHE-RSA-CAMELLIA256-SHA256",
    0x006D: "ADH-AES256-SHA256",
    0x00C5: "ADH-CAMELLIA256-SHA256",
    0xC023: "ECDHE-ECDSA-AES128-SHA256",
    0xC027: "ECDHE-RSA-AES128-SHA256",
    0x0067: "DHE-RSA-AES128-SHA256",
    0xC072: "ECDHE-ECDSA-CAMELLIA128-SHA256",
    0xC076: "ECDHE-RSA-CAMELLIA128-SHA256",
    0x00BE: "DHE-RSA-CAMELLIA128-SHA256",
    0x006C: "ADH-AES128-SHA256",
    0x00BF: "ADH-CAMELLIA128-SHA256",
    0xC00A: "ECDHE-ECDSA-AES256-SHA",
    0xC014: "ECDHE-RSA-AES256-SHA",
    0x0039: "DHE-RSA-AES256-SHA",
    0x0088: "DHE-RSA-CAMELLIA256-SHA",
    0xC019: "AECDH-AES256-SHA",
    0x003A: "ADH-AES256-SHA",
    0x0089: "ADH-CAMELLIA256-SHA",
    0xC009: "ECDHE-ECDSA-AES128-SHA",
    0xC013: "ECDHE-RSA-AES128-SHA",
    0x0033: "DHE-RSA-AES128-SHA",
    0x0045: "DHE-RSA-CAMELLIA128-SHA",
    0xC018: "AECDH-AES128-SHA",
    0x0034: "ADH-AES128-SHA",
    0x0046: "ADH-CAMELLIA128-SHA",
    0x009D: "AES256-GCM-SHA384",
    0xC0A1: "AES256-CCM8",
    0xC09D: "AES256-CCM",
    0xC051: "ARIA256-GCM-SHA384",
    0x009C: "AES128-GCM-SHA256",
    0xC0A0: "AES128-CCM8",
    0xC09C: "AES128-CCM",
    0xC050: "ARIA128-GCM-SHA256",
    0x003D: "AES256-SHA256",
    0x00C0: "CAMELLIA256-SHA256",
    0x003C: "AES128-SHA256",
    0x00BA: "CAMELLIA128-SHA256",
    0x0035: "AES256-SHA",
    0x0084: "CAMELLIA256-SHA",
    0x002F: "AES128-SHA",
    0x0041: "CAMELLIA128-SHA",
    0xC008: "ECDHE-ECDSA-DES-CBC3-SHA",
    0xC012: "ECDHE-RSA-DES-CBC3-SHA",
    0x0016: "DHE-RSA-DES-CBC3-SHA",
    0xC017: "AECDH-DES-CBC3-SHA",
    0x001B: "ADH-DES-CBC3-SHA",
    0x000A: "DES-CBC3-SHA",
    0x009A: "DHE-RSA-SEED-SHA",
    0x009B: "ADH-SEED-SHA",
    0x0096: "SEED-SHA",
    0x0007: "IDEA-CBC-SHA",
    0xC007: "ECDHE-ECDSA-RC4-SHA",
    0xC011: "ECDHE-RSA-RC4-SHA",
    0xC016: "AECDH-RC4-SHA",
    0x0018: "ADH-RC4-MD5",
    0x0005: "RC4-SHA",
    0x0004: "RC4-MD5",
    0x0015: "DHE-RSA-DES-CBC-SHA",
    0x001A: "ADH-DES-CBC-SHA",
    0x0009: "DES-CBC-SHA",
    0x0014: "EXP-DHE-RSA-DES-CBC-SHA",
    0x0019: "EXP-ADH-DES-CBC-SHA",
    0x0017: "EXP-ADH-RC4-MD5",
    0x0008: "EXP-DES-CBC-SHA",
    0x0006: "EXP-RC2-CBC-MD5",
    0x0003: "EXP-RC4-MD5",
    0xC006: "ECDHE-ECDSA-NULL-SHA",
    0xC010: "ECDHE-RSA-NULL-SHA",
    0xC015: "AECDH-NULL-SHA",
    0x003B: "NULL-SHA256",
    0x0002: "NULL-SHA",
    0x0001: "NULL-MD5",
}
"""For SSLv3 to TLS 1.2, strong ones first: a server without an order of its own then gets a good offer."""


class Weakness(Enum):
    """What is wrong with a suite, the worst of it. Values are words for a report."""

    NO_ENCRYPTION = "no encryption"
    NO_AUTHENTICATION = "no authentication: anybody can play the server"
    EXPORT = "a key of 40 bits (FREAK, Logjam)"
    DES = "DES: a key of 56 bits"
    RC4 = "RC4 (RFC 7465)"
    SMALL_BLOCKS = "blocks of 64 bits (Sweet32, RFC 9325 §4.2)"
    NO_FORWARD_SECRECY = "no forward secrecy (RFC 9325 §4.2)"


def weakness(name: str) -> Weakness | None:
    """The worst that is wrong with the suite of this name; None: nothing."""
    if name.startswith("TLS_"):
        return None
    return next((worst for worst, applies in _WEAKNESSES.items() if applies(name)), None)


_WEAKNESSES: Final[Mapping[Weakness, Callable[[str], bool]]] = {
    Weakness.NO_ENCRYPTION: lambda name: "NULL" in name,
    Weakness.EXPORT: lambda name: name.startswith("EXP-"),
    Weakness.DES: lambda name: "DES-CBC-" in name,
    Weakness.RC4: lambda name: "RC4" in name,
    Weakness.NO_AUTHENTICATION: lambda name: name.startswith(("ADH-", "AECDH-")),
    Weakness.SMALL_BLOCKS: lambda name: "DES-CBC3-" in name or "IDEA" in name or "RC2" in name,
    Weakness.NO_FORWARD_SECRECY: lambda name: not name.startswith(("ECDHE-", "DHE-")),
}
"""Worst first."""
