"""Tests against programs that nobody here wrote: every test in this directory has the ``interop`` marker.

The mail servers behind the ``test_esmtp_`` modules, and the proxies in front of them, run once for all of these. Each
message has a marker of its own, and each look at the log begins where the test did.
"""

import itertools
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Issued
from tests.support.exim import Exim
from tests.support.mail_proxy import MODES, MailListen, MailProxy, trusting
from tests.support.mailboxes import DOMAIN
from tests.support.postfix import Postfix, Smtpd
from tests.support.sendmail import Sendmail

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Issued:
    """For every name that a client of these tests calls the proxy."""
    return authority.issue("mx.example.org", f"mx.{DOMAIN}", "localhost", "127.0.0.1", "::1")


@pytest.fixture(scope="session")
def client_context(authority: Authority) -> ssl.SSLContext:
    return trusting(authority.path)


@pytest.fixture(scope="session")
def new_marker() -> Callable[[], str]:
    """Makes words that stand in one message and no other."""
    numbers = itertools.count(1)
    return lambda: f"marker-{next(numbers)}-end"


BANNED = "127.0.0.66"
"""A client that Postfix doesn't take mail from, where it learns who the client is."""

_BANNED = {"smtpd_recipient_restrictions": f"check_client_access inline:{{{BANNED}=REJECT}}"}

_SMTPD: Mapping[str, Smtpd] = {
    "none": Smtpd({"smtpd_authorized_xforward_hosts": "127.0.0.1"}),
    "xclient": Smtpd({"smtpd_authorized_xclient_hosts": "127.0.0.1", **_BANNED}),
    "haproxy": Smtpd({"smtpd_upstream_proxy_protocol": "haproxy", **_BANNED}),
}
_SMTPD_OF: Mapping[str, str] = {
    "none": "none",
    "xclient": "xclient",
    "proxy_v1": "haproxy",
    "proxy_v2": "haproxy",
    "trace_header": "none",
}
"""Which of those a backend with this ``identity`` is."""


@pytest.fixture(scope="session")
def mail_postfix() -> Iterator[Postfix]:
    options = {
        "inet_protocols": "all",
        "smtpd_client_port_logging": "yes",
        "smtputf8_enable": "yes",
        "smtpd_forbid_bare_newline": "no",  # as in Postfix 3.8 and before
    }
    with Postfix(list(_SMTPD.values()), options) as running:
        yield running


@pytest.fixture(scope="session")
def mail_exim() -> Iterator[Exim]:
    with Exim() as running:
        yield running


@pytest.fixture(scope="session")
def mail_sendmail() -> Iterator[Sendmail]:
    with Sendmail() as running:
        yield running


def smtpd_address(postfix: Postfix, identity: str) -> str:
    """The service of ``mail_postfix`` that understands this ``identity``."""
    return f"127.0.0.1:{postfix.ports[list(_SMTPD).index(_SMTPD_OF[identity])]}"


_NAMED = {"smtp_hostname": "proxy.example"}


@pytest.fixture(scope="session")
def postfix_proxy(
    mail_postfix: Postfix, certificate: Issued, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MailProxy]:
    """In front of Postfix: ``"IDENTITY MODE"`` for each identity and mode, and some more."""
    listens = {
        f"{identity} {mode}": MailListen(
            smtpd_address(mail_postfix, identity), {**_NAMED, **options}, {"identity": identity}
        )
        for identity in _SMTPD_OF
        for mode, options in MODES.items()
    }

    def more(name: str, identity: str, options: Mapping[str, Any], **backend: Any) -> None:
        server = smtpd_address(mail_postfix, identity)
        listens[name] = MailListen(server, options, {"identity": identity, **backend})

    more("IPv6", "xclient", {"address": "[::1]:0"})
    more("IPv6 and PROXY header", "proxy_v2", {"address": "[::1]:0"})
    more("source address", "none", {}, source_address="127.0.0.9")
    more("normalize", "none", {"smtp_bare_newline": "normalize"})
    more("ignore injection", "none", {"starttls_injection_policy": "ignore"})
    behind = {"proxy_protocol_from": ["127.0.0.1"], "proxy_protocol_timeout": 0.5}
    for mode, options in MODES.items():
        more(f"behind a balancer {mode}", "xclient", {**options, **behind})
    with MailProxy(tmp_path_factory.mktemp("postfix-proxy"), certificate, listens) as running:
        yield running


@pytest.fixture(scope="session")
def exim_proxy(
    mail_exim: Exim, certificate: Issued, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MailProxy]:
    """In front of Exim: ``MODE`` and ``"proxy_v2 MODE"`` for each mode, and some more."""
    plain, told = f"127.0.0.1:{mail_exim.port}", f"127.0.0.1:{mail_exim.proxy_port}"
    listens = {mode: MailListen(plain, options) for mode, options in MODES.items()}
    for identity in ("proxy_v1", "proxy_v2"):
        for mode, options in MODES.items():
            listens[f"{identity} {mode}"] = MailListen(told, options, {"identity": identity})
    listens |= {
        "AUTH under TLSv1.3": MailListen(plain, {"smtp_auth_tls_protocols": ">=TLSv1.3"}),
        "AUTH without TLS": MailListen(plain, {"tls_auth_only": False}),
        "trace header": MailListen(plain, _NAMED, {"identity": "trace_header"}),
        "xclient": MailListen(plain, {}, {"identity": "xclient"}),
        "normalize": MailListen(plain, {"smtp_bare_newline": "normalize"}),
        "pass": MailListen(plain, {"smtp_bare_newline": "pass"}),
        "fewer keywords": MailListen(plain, {"smtp_discard_ehlo_keywords": ["size", "Chunking"]}),
    }
    with MailProxy(tmp_path_factory.mktemp("exim-proxy"), certificate, listens) as running:
        yield running


@pytest.fixture(scope="session")
def sendmail_proxy(
    mail_sendmail: Sendmail, certificate: Issued, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MailProxy]:
    """In front of Sendmail: ``MODE`` for each mode, and some more."""
    server = f"127.0.0.1:{mail_sendmail.port}"
    listens = {mode: MailListen(server, options) for mode, options in MODES.items()}
    listens |= {
        "trace header": MailListen(server, _NAMED, {"identity": "trace_header"}),
        "source address": MailListen(server, {}, {"source_address": "127.0.0.9"}),
        "normalize": MailListen(server, {"smtp_bare_newline": "normalize"}),
    }
    with MailProxy(tmp_path_factory.mktemp("sendmail-proxy"), certificate, listens) as running:
        yield running
