"""What a mail server offers before TLS, where anybody on the way reads along and may change it."""

from collections.abc import Iterator, Sequence
from typing import Final

from tlsproxy.cli.server_probe.findings import Finding, bad, ok, warn

_PLAIN_MECHANISMS: Final = {"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"}
"""With these the password, or what is as good, is sent as it is (RFC 4616, RFC 7628)."""

_TRUST: Final = ("XCLIENT", "XFORWARD")
"""A client may say who it is (Postfix's XCLIENT_README): for proxies, not for strangers."""


def keyword_findings(protocol: str, plain: Sequence[str]) -> Iterator[Finding]:
    """Judge the keywords before TLS."""
    yield ok("keywords before TLS", ", ".join(plain) or "none", keywords=list(plain))
    if not any(word in ("STARTTLS", "STLS") for word in plain):
        yield bad("STARTTLS", "isn't offered", offered=False)
    else:
        yield ok("STARTTLS", "offered", offered=True)
    yield _authentication(protocol, plain)
    trusted = [word.split()[0] for word in plain if word.split()[:1] and word.split()[0] in _TRUST]
    if trusted:
        yield bad(
            "client identity", f"{', '.join(trusted)} is offered to us: we could be anybody", offered=trusted
        )


def _authentication(protocol: str, plain: Sequence[str]) -> Finding:
    mechanisms = _mechanisms(protocol, plain)
    what, facts = "AUTH before TLS", {"mechanisms": mechanisms}
    if not mechanisms:
        return ok(what, "isn't offered", **facts)
    open_ones = [each for each in mechanisms if each in _PLAIN_MECHANISMS]
    if open_ones:
        return bad(what, f"{', '.join(open_ones)} sends a password in plaintext", **facts)
    return warn(what, f"{', '.join(mechanisms)}: whoever reads along may try passwords at leisure", **facts)


def _mechanisms(protocol: str, plain: Sequence[str]) -> list[str]:
    if protocol == "imap":  # RFC 9051 §6.2.3: LOGIN goes unless LOGINDISABLED
        named = [word.removeprefix("AUTH=") for word in plain if word.startswith("AUTH=")]
        return named if "LOGINDISABLED" in plain else [*named, "LOGIN"]
    if protocol == "pop3":  # RFC 2449 §6.3, RFC 5034: USER is a password in plaintext
        sasl = [word.split()[1:] for word in plain if word.startswith("SASL ")]
        return [each for words in sasl for each in words] + ["PLAIN" for word in plain if word == "USER"]
    lines = [word.replace("=", " ").split()[1:] for word in plain if word.startswith(("AUTH ", "AUTH="))]
    return list(dict.fromkeys(each for words in lines for each in words))
