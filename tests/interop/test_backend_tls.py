"""TLS to backends that nobody here wrote: nginx from the first byte, Postfix from the first byte and by STARTTLS."""

import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.certificates import Authority, Issued, write_pem
from tests.support.mailboxes import DOMAIN
from tests.support.nginx import start_nginx
from tests.support.postfix import Postfix, Smtpd
from tests.support.processes import Program, free_port, free_ports
from tests.support.programs import require
from tests.support.proxy import Proxy

NAME = "mx.backend.example"


@frozen
class Case:
    """A server's certificate, and why it is refused; empty: it isn't."""

    issued: Issued
    refusal: str = ""
    options: str = ""
    """In the backend's table, over the defaults."""


def cases(authority: Authority, directory: Path) -> dict[str, Case]:
    stranger = Authority(directory, "stranger")
    intermediate = Authority(directory, "intermediate", parent=authority)
    now = datetime.now(UTC)
    begin, end = now - timedelta(days=30), now - timedelta(days=1)
    pinned = authority.issue("other.example")
    own = write_pem(directory / "own.pem", pinned.pem)
    return {
        "right": Case(authority.issue(NAME)),
        "wildcard": Case(authority.issue("*.backend.example")),
        "chain": Case(intermediate.issue(NAME, stem="chain")),
        "rsa": Case(authority.issue(NAME, key_type="rsa")),
        "address": Case(authority.issue("127.0.0.1"), options='tls_server_name = ""'),
        "unchecked": Case(authority.issue("other.example"), options="tls_verify_name = false"),
        "pinned": Case(pinned, options=f'tls_ca = "{own}"\ntls_server_name = "other.example"'),
        "wrong": Case(
            authority.issue("other.example"), "it is for 'other.example', not for mx.backend.example"
        ),
        "deeper": Case(
            authority.issue("*.example"),
            "whether it is for mx.backend.example can't be told: Certificate's DNS-ID",
        ),
        "nameless": Case(
            authority.issue(common_name=NAME),
            "can't be told: Certificate does not contain any `subjectAltName`s.",
        ),
        "other address": Case(
            authority.issue("127.0.0.2"), "not for 127.0.0.1", options='tls_server_name = ""'
        ),
        "expired": Case(authority.issue(NAME, not_before=begin, not_after=end), "certificate has expired"),
        "unknown": Case(stranger.issue(NAME, stem="stranger-s"), "its issuer is unknown"),
        "unpinned": Case(
            authority.issue("other.example"),
            "its issuer is unknown",
            options=f'tls_ca = "{own}"\ntls_server_name = "other.example"',
        ),
        "client's": Case(authority.issue(NAME, client=True), "it isn't meant for this use"),
    }


CASES = (
    *("right", "wildcard", "chain", "rsa", "address", "unchecked", "pinned", "wrong", "deeper", "nameless"),
    *("other address", "expired", "unknown", "unpinned", "client's"),
)


def backend(name: str, port: int, tls: str, authority: Authority, options: str = "") -> str:
    """A table; what ``options`` sets isn't set twice."""
    defaults = {
        "identity": "trace_header" if "smtp" in name else "none",
        "tls_ca": str(authority.path),
        "tls_server_name": NAME,
    }
    lines = [f'{key} = "{value}"' for key, value in defaults.items() if f"{key} =" not in options]
    return "\n".join(
        [f'[backend."{name}"]', f'servers = ["127.0.0.1:{port}"]', f'tls = "{tls}"', *lines, options, ""]
    )


def listener(kind: str, name: str, options: str = "") -> str:
    return f'[[{kind}_listener]]\nbackend = "{name}"\n{options}\n[[{kind}_listener.listen]]\naddress = "127.0.0.1:0"\n'


class World:
    """The proxy in front of servers with every certificate."""

    def __init__(self, proxy: Proxy, names: list[str]) -> None:
        self.proxy = proxy
        proxy.wait_until(lambda: len(proxy.ports()) == len(names), "not every listen is there")
        self._ports = dict(zip(names, proxy.ports(), strict=True))

    def port(self, name: str) -> int:
        return self._ports[name]

    def refusal(self, name: str, seen: int) -> str:
        note = self.proxy.wait_for_note("backend_failed", after=seen, backend=name)
        return str(note["detail"])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backend-tls")


@pytest.fixture(scope="module")
def everything(authority: Authority, directory: Path) -> dict[str, Case]:
    made = cases(authority, directory)
    assert tuple(made) == CASES
    return made


# nginx


def nginx_server(port: int, case: Case, asking: str = "") -> str:
    """A server that says which name it was asked for, and who asked."""
    said = "hello from $ssl_server_name to [$ssl_client_s_dn] over $ssl_protocol\\n"
    return (
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3; {asking} "
        f"ssl_certificate {case.issued.chain_path}; "
        f'ssl_certificate_key {case.issued.key_path}; return "{said}"; }}\n'
    )


@pytest.fixture(scope="module")
def nginx(authority: Authority, directory: Path, everything: dict[str, Case]) -> Iterator[World]:
    """The proxy in front of an nginx with each of the certificates."""
    *ports, asking_port = free_ports(len(everything) + 1)
    asking = f"ssl_verify_client on; ssl_client_certificate {authority.path};"
    servers = [nginx_server(port, case) for port, case in zip(ports, everything.values(), strict=True)]
    servers.append(nginx_server(asking_port, everything["right"], asking))
    own, client = authority.issue("localhost"), authority.issue("proxy.example", client=True)
    shown = f'tls_certificate = "{client.chain_path}"\ntls_key = "{client.key_path}"'
    names = [*everything, "asking", "asking in vain"]
    tables = [
        backend(name, port, "implicit", authority, case.options)
        for (name, case), port in zip(everything.items(), ports, strict=True)
    ]
    tables += [
        backend("asking", asking_port, "implicit", authority, shown),
        backend("asking in vain", asking_port, "implicit", authority),
    ]
    certificate = f'tls_certificate = "{own.chain_path}"\ntls_key = "{own.key_path}"'
    toml = "\n".join([certificate, *tables, *(listener("stream", name) for name in names)])
    (directory / "stream").mkdir()
    with (
        start_nginx(directory / "nginx", [*ports, asking_port], stream="".join(servers)),
        Proxy.start(directory / "stream", toml) as proxy,
    ):
        yield World(proxy, names)


def said_to(world: World, authority: Authority, name: str) -> bytes:
    """What a client of the stream listener gets."""
    context = ssl.create_default_context(cafile=str(authority.path))
    with socket.create_connection(("127.0.0.1", world.port(name)), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            return b"".join(iter(lambda: client.recv(1000), b""))


@pytest.mark.parametrize("name", CASES)
def test_an_nginx_is_used_if_its_certificate_is_right(
    nginx: World, authority: Authority, everything: dict[str, Case], name: str
) -> None:
    seen, case = len(nginx.proxy.notes), everything[name]
    said = said_to(nginx, authority, name)
    if case.refusal:
        assert said == b""
        refusal = nginx.refusal(name, seen)
        assert refusal.startswith("server certificate not verified: ")
        assert case.refusal in refusal
    else:
        asked_for = {"address": b"", "pinned": b"other.example"}.get(name, NAME.encode())
        assert said == b"hello from %b to [] over TLSv1.3\n" % asked_for


def test_a_client_certificate_is_shown_to_a_server_that_asks(nginx: World, authority: Authority) -> None:
    assert b"to [CN=proxy.example]" in said_to(nginx, authority, "asking")
    assert b"to [" not in said_to(nginx, authority, "asking in vain")


# Postfix, behind a plaintext esmtp listener as an old sending server would use it


def smtpd(case: Case, **options: str) -> Smtpd:
    files = {
        "smtpd_tls_cert_file": str(case.issued.chain_path),
        "smtpd_tls_key_file": str(case.issued.key_path),
        "smtpd_tls_received_header": "yes",
    }
    return Smtpd({**files, **options})


@pytest.fixture(scope="module")
def postfix(everything: dict[str, Case]) -> Iterator[Postfix]:
    services = [
        *(smtpd(case, smtpd_tls_security_level="encrypt") for case in everything.values()),
        *(smtpd(case, smtpd_tls_wrappermode="yes") for case in everything.values()),
        Smtpd({"smtpd_tls_security_level": "none"}),
        smtpd(everything["right"], smtpd_tls_security_level="may", smtpd_tls_protocols="TLSv1"),
        smtpd(
            everything["right"],
            smtpd_tls_security_level="encrypt",
            smtpd_authorized_xclient_hosts="127.0.0.1",
        ),
    ]
    with Postfix(services) as running:
        yield running


@pytest.fixture(scope="module")
def mail(
    authority: Authority, directory: Path, everything: dict[str, Case], postfix: Postfix
) -> Iterator[World]:
    """The proxy in front of Postfix with each of the certificates, in both ways."""
    modes = [(tls, name) for tls in ("starttls", "implicit") for name in everything]
    *tls_ports, plaintext_port, old_port, xclient_port = postfix.ports
    tables = {
        f"smtp {tls} {name}": (port, tls, everything[name].options)
        for (tls, name), port in zip(modes, tls_ports, strict=True)
    }
    tables["smtp none offered"] = plaintext_port, "starttls", ""
    tables["smtp too old"] = old_port, "starttls", ""
    tables["smtp plaintext"] = plaintext_port, "implicit", ""
    tables["smtp xclient"] = xclient_port, "starttls", 'identity = "xclient"'
    plain = 'tls_security_level = "none"'
    toml = "\n".join(
        [
            *(backend(name, port, tls, authority, options) for name, (port, tls, options) in tables.items()),
            *(listener("esmtp", name, plain) for name in tables),
        ]
    )
    (directory / "mail").mkdir()
    with Proxy.start(directory / "mail", toml) as proxy:
        yield World(proxy, list(tables))


def send(world: World, name: str, message: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", world.port(name), local_hostname="old.example", timeout=20) as client:
        client.sendmail("a@old.example", [f"user@{DOMAIN}"], message)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("name", CASES)
def test_a_message_goes_to_who_it_should_and_to_nobody_else(
    mail: World, everything: dict[str, Case], postfix: Postfix, tls: str, name: str
) -> None:
    case, backend_name = everything[name], f"smtp {tls} {name}"
    seen, delivered = len(mail.proxy.notes), len(postfix.messages())
    message = f"Subject: {tls} {name}\r\n\r\nbody\r\n".encode()
    if case.refusal:
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            send(mail, backend_name, message)
        assert refused.value.smtp_code == 421
        assert case.refusal in mail.refusal(backend_name, seen)
        assert len(postfix.messages()) == delivered
    else:
        send(mail, backend_name, message)
        newest = postfix.wait_for_messages(delivered + 1)[-1]
        assert f"Subject: {tls} {name}\n".encode() in newest
        assert b"(using TLSv1.3 with cipher" in newest, "Postfix's own Received: field"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("smtp none offered", "STARTTLS isn't offered"),
        ("smtp too old", "protocol version"),
        ("smtp plaintext", "not TLS: the server begins with b'220 "),
    ],
)
def test_without_tls_there_is_no_session(mail: World, name: str, why: str) -> None:
    seen = len(mail.proxy.notes)
    with pytest.raises(smtplib.SMTPConnectError) as refused:
        send(mail, name, b"Subject: never\r\n\r\n")
    assert refused.value.smtp_code == 421
    assert why in mail.refusal(name, seen)


def test_the_greeting_is_the_server_s_and_the_dialogue_begins_anew(mail: World, postfix: Postfix) -> None:
    with smtplib.SMTP("127.0.0.1", mail.port("smtp starttls right"), timeout=20) as client:
        assert client.ehlo("old.example")[0] == 250
        assert not client.has_extn("starttls"), "TLS is the proxy's business"
        assert client.has_extn("pipelining")
        assert client.docmd("NOOP")[0] == 250
    postfix.wait_for_log(r"disconnect from .* ehlo=2 starttls=1 noop=1 quit=1 commands=5")


def test_the_server_learns_who_the_client_is_in_tls(mail: World, postfix: Postfix) -> None:
    with smtplib.SMTP("127.0.0.1", mail.port("smtp xclient"), "old.example", timeout=20) as client:
        client.sendmail("a@old.example", [f"user@{DOMAIN}"], b"Subject: whose\r\n\r\n")
    postfix.wait_for_log(r"disconnect from .* ehlo=3 .*starttls=1 .*mail=1 rcpt=1 data=1 quit=1")
    assert not [note for note in mail.proxy.notes if note.get("what") == "identity_refused"]


def test_an_old_sending_server_s_mail_goes_on_in_tls(mail: World, postfix: Postfix) -> None:
    """A Postfix without any TLS sends everything by way of the proxy: its relayhost, in effect a smarthost with TLS."""
    old = Postfix(
        options={
            "myhostname": "old.example",
            "mynetworks": "127.0.0.0/8",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            "virtual_mailbox_domains": "",
            "default_transport": f"smtp:[127.0.0.1]:{mail.port('smtp starttls right')}",
            "smtp_dns_support_level": "disabled",
            "smtp_tls_security_level": "none",
        }
    )
    delivered = len(postfix.messages())
    with old, smtplib.SMTP("127.0.0.1", old.port, timeout=20) as client:
        client.sendmail("a@old.example", [f"user@{DOMAIN}"], b"Subject: from old times\r\n\r\n.\r\n")
        newest = postfix.wait_for_messages(delivered + 1)[-1]
        old.wait_for_log("status=sent")
    assert b"(using TLSv1.3 with cipher" in newest
    assert b"\nReceived: from old.example" in newest


# OpenSSL's own server, which asks for a renegotiation when it is told to


@pytest.mark.parametrize("allowed", [False, True])
def test_a_hello_request_ends_the_session_unless_it_is_allowed(
    authority: Authority, tmp_path: Path, allowed: bool
) -> None:
    port = free_port()
    issued, own = authority.issue(NAME), authority.issue("localhost")
    option = f"tls_allow_renegotiation = {str(allowed).lower()}"
    toml = "\n".join(
        [
            f'tls_certificate = "{own.chain_path}"\ntls_key = "{own.key_path}"',
            backend("openssl", port, "implicit", authority, option),
            listener("stream", "openssl"),
        ]
    )
    s_server = [require("openssl", package="openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-tls1_2"]
    context = ssl.create_default_context(cafile=str(authority.path))
    with (
        Program([*s_server, "-cert", issued.chain_path, "-key", issued.key_path]) as server,
        Proxy.start(tmp_path, toml) as proxy,
    ):
        server.wait_for_port(port)
        with (
            socket.create_connection(("127.0.0.1", proxy.ports()[0]), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(b"hello\n")
            server.wait_for_output("^hello$")
            server.send(b"R\n")  # s_server(1): renegotiate
            outcome = "allowed" if allowed else "closed"
            note = proxy.wait_for_note("renegotiation_attempted", outcome=outcome)
            assert (note["leg"], note["attempt"]) == ("backend", 1)
            if allowed:
                client.sendall(b"still there\n")
                server.wait_for_output("^still there$")
            else:
                began = time.monotonic()
                assert client.recv(1) == b""
                assert time.monotonic() - began < 5
