"""``tlsproxy probe HOST:PORT`` at servers that nobody here wrote, and at the proxy itself."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Issued
from tests.support.nginx import start_nginx
from tests.support.postfix import Postfix, Smtpd
from tests.support.processes import Program, free_port, free_ports
from tests.support.programs import require, unavailable
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

OLD = ["-cipher", "ALL:@SECLEVEL=0"]


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue("localhost", key_type="rsa")


@pytest.fixture(scope="module")
def combined(issued: Issued, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chain and key in one file."""
    return issued.write_combined(tmp_path_factory.mktemp("combined") / "both.pem")


@pytest.fixture(scope="module")
def backend() -> Iterator[str]:
    with Server(echo) as server:
        yield server.address


def probe(port: int, authority: Authority, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status, and findings by what they are about."""
    tlsproxy = Path(sys.executable).with_name("tlsproxy")
    command = [str(tlsproxy), "probe", f"localhost:{port}", "--json", "--ca", str(authority.path), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
    return result.returncode, {each["what"]: each for each in json.loads(result.stdout)["findings"]}


def verdicts(found: dict[str, dict[str, Any]], verdict: str) -> set[str]:
    return {what for what, each in found.items() if each["verdict"] == verdict}


def versions(found: dict[str, dict[str, Any]]) -> list[str]:
    names = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
    return [name for name in names if found[name]["facts"].get("accepted")]


def s_server(issued: Issued, *options: str) -> Program:
    openssl, port = require("openssl", package="openssl"), str(free_port())
    files = ["-cert", issued.chain_path, "-key", issued.key_path]
    program = Program([openssl, "s_server", "-accept", port, *files, *options])
    program.wait_for_port(int(port))
    return program


def port_of(program: Program) -> int:
    return int(program.arguments[3])


def test_s_server_with_all_its_vices(authority: Authority, issued: Issued) -> None:
    """Old versions, weak ciphers, and any client may renegotiate."""
    with s_server(issued, *OLD, "-client_renegotiation", "-no_tls1_3", "-serverpref") as server:
        status, found = probe(port_of(server), authority)
    assert status == 1
    assert versions(found) == ["TLSv1", "TLSv1.1", "TLSv1.2"]
    assert found["client renegotiation"]["facts"]["outcome"] == "accepted"
    assert "client renegotiation" in verdicts(found, "bad")
    assert {"TLSv1", "TLSv1.1"} <= verdicts(found, "warn")
    assert "ADH-AES256-GCM-SHA384" in found["TLSv1.2 cipher suites"]["facts"]["suites"]
    assert "TLSv1.2 cipher suites, weak" in found
    assert found["TLSv1.2 cipher order"]["facts"]["order"] == "server"


def test_the_suites_found_are_those_that_s_server_was_given(authority: Authority, issued: Issued) -> None:
    names = ["AES128-SHA", "ECDHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA"]
    with s_server(
        issued, "-cipher", ":".join(names), "-serverpref", "-ciphersuites", "TLS_AES_256_GCM_SHA384"
    ) as server:
        _, found = probe(port_of(server), authority)
    assert found["TLSv1.2 cipher suites"]["facts"] == {"suites": names, "complete": True}
    assert found["TLSv1.3 cipher suites"]["facts"]["suites"] == ["TLS_AES_256_GCM_SHA384"]
    assert found["session resumption"]["facts"] == {"TLSv1.2": True, "TLSv1.3": True}
    assert found["KeyUpdate"]["facts"] == {"sent": 200, "outcome": "unlimited"}
    assert found["client renegotiation"]["facts"]["outcome"] == "refused"


def test_what_gnutls_does_without_rfc_5746(authority: Authority, issued: Issued) -> None:
    gnutls, port = require("gnutls-serv", package="gnutls-bin"), free_port()
    priority = "NORMAL:-VERS-TLS1.3:%DISABLE_SAFE_RENEGOTIATION"
    files = ["--x509certfile", issued.chain_path, "--x509keyfile", issued.key_path]
    with Program([gnutls, "--echo", "--port", str(port), "--priority", priority, *files]) as server:
        server.wait_for_port(port)
        status, found = probe(port, authority)
    assert (status, versions(found)) == (1, ["TLSv1", "TLSv1.1", "TLSv1.2"])
    assert "secure renegotiation" in verdicts(found, "bad")


def test_nginx(authority: Authority, issued: Issued, tmp_path: Path) -> None:
    port = free_port()
    http = (
        f"server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {issued.chain_path}; "
        f"ssl_certificate_key {issued.key_path}; ssl_protocols TLSv1.2 TLSv1.3; }}"
    )
    with start_nginx(tmp_path, [port], http=http):
        status, found = probe(port, authority)
    assert (status, versions(found)) == (0, ["TLSv1.2", "TLSv1.3"])
    assert found["ALPN"]["facts"]["selected"] == "h2"
    assert found["client renegotiation"]["facts"]["outcome"] in ("closed", "refused")
    assert found["certificate chain"]["facts"]["verified"]


def test_haproxy(authority: Authority, combined: Path, tmp_path: Path, backend: str) -> None:
    port, config = free_port(), tmp_path / "haproxy.cfg"
    config.write_text(
        f"""
global
defaults
    mode tcp
    timeout connect 5s
    timeout client 5s
    timeout server 5s
listen tls
    bind 127.0.0.1:{port} ssl crt {combined} ssl-min-ver TLSv1.3
    server one {backend}
"""
    )
    with Program([require("haproxy", package="haproxy"), "-db", "-f", config]) as server:
        server.wait_for_port(port)
        status, found = probe(port, authority, "--expect", "TLSv1.3")
    assert (status, versions(found)) == (0, ["TLSv1.3"])
    assert found["client renegotiation"]["facts"]["outcome"] == "impossible"
    assert found["secure renegotiation"]["facts"] == {"supported": None}


def test_hitch(authority: Authority, combined: Path, backend: str) -> None:
    port = free_port()
    host, _, backend_port = backend.rpartition(":")
    arguments = [
        f"--frontend=[127.0.0.1]:{port}",
        f"--backend=[{host}]:{backend_port}",
        "--tls-protos=TLSv1.2",
        "--user=nobody",
    ]
    with Program([require("hitch", package="hitch"), *arguments, combined]) as server:
        server.wait_for_port(port)
        status, found = probe(port, authority)
    assert (status, versions(found)) == (0, ["TLSv1.2"])
    assert found["secure renegotiation"]["facts"] == {"supported": True}


def test_stunnel(authority: Authority, combined: Path, tmp_path: Path, backend: str) -> None:
    port, config = free_port(), tmp_path / "stunnel.conf"
    config.write_text(
        f"foreground = yes\npid =\n[tls]\naccept = 127.0.0.1:{port}\nconnect = {backend}\ncert = {combined}\n"
        "sslVersionMin = TLSv1.2\n"
    )
    with Program([require("stunnel4", package="stunnel4"), config]) as server:
        server.wait_for_port(port)
        status, found = probe(port, authority)
    assert (status, versions(found)) == (0, ["TLSv1.2", "TLSv1.3"])


@pytest.fixture(scope="module")
def postfix(issued: Issued) -> Iterator[Postfix]:
    tls = {
        "smtpd_tls_chain_files": f"{issued.key_path}, {issued.chain_path}",
        "smtpd_tls_security_level": "may",
    }
    services = [
        Smtpd({**tls, "smtpd_tls_protocols": ">=TLSv1.2", "smtpd_tls_exclude_ciphers": "aNULL"}),
        Smtpd({**tls, "smtpd_authorized_xclient_hosts": "127.0.0.0/8"}),
    ]
    with Postfix(services) as running:
        yield running


def test_postfix(authority: Authority, postfix: Postfix) -> None:
    status, found = probe(postfix.ports[0], authority, "--starttls", "smtp", "--expect", ">=TLSv1.2")
    assert status == 0, verdicts(found, "bad")
    assert versions(found) == ["TLSv1.2", "TLSv1.3"]
    assert found["STARTTLS injection"]["facts"] == {"executed": False}
    assert found["STARTTLS again"]["facts"] == {"offered": False}
    assert "STARTTLS" in found["keywords before TLS"]["facts"]["keywords"]


def test_postfix_that_trusts_strangers(authority: Authority, postfix: Postfix) -> None:
    status, found = probe(postfix.ports[1], authority, "--starttls", "smtp", "--connections", "16")
    assert status == 1
    assert "client identity" in verdicts(found, "bad")


PROXY = """
    tls_certificate = "{issued.chain_path}"
    tls_key = "{issued.key_path}"
    smtp_hostname = "mx.example.org"
    [backend.mta]
    servers = ["127.0.0.1:{mta}"]
    [backend.echo]
    servers = ["{echo}"]
    [[esmtp_listener]]
    backend = "mta"
      [[esmtp_listener.listen]]
      address = "127.0.0.1:0"
    [[stream_listener]]
    backend = "echo"
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
"""


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, issued: Issued, postfix: Postfix, backend: str
) -> Iterator[Proxy]:
    toml = PROXY.format(issued=issued, mta=postfix.ports[1], echo=backend)
    with Proxy.start(tmp_path_factory.mktemp("proxy"), toml) as running:
        running.wait_until(lambda: len(running.ports()) == 2, "not every listen is open")
        yield running


def test_our_own_proxy_in_front_of_mail(authority: Authority, proxy: Proxy) -> None:
    """The backend offers XCLIENT to it, and would take whatever version and cipher."""
    status, found = probe(proxy.ports()[0], authority, "--starttls", "smtp", "--expect", ">=TLSv1.2")
    assert status == 0, verdicts(found, "bad")
    assert not verdicts(found, "warn") | verdicts(found, "unknown")
    assert found["STARTTLS injection"]["detail"].startswith("the session ends: the server says '554 ")
    assert found["client renegotiation"]["facts"]["outcome"] == "closed"
    assert found["KeyUpdate"]["facts"] == {"sent": 40, "outcome": "closed"}


def test_our_own_proxy_in_front_of_anything(authority: Authority, proxy: Proxy) -> None:
    status, found = probe(proxy.ports()[1], authority)
    assert status == 0, verdicts(found, "bad")
    assert not verdicts(found, "warn") | verdicts(found, "unknown")


@pytest.fixture(scope="module")
def nginx_mail(issued: Issued, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """nginx as a proxy for mail: the port of each protocol."""
    module = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
    if not module.exists():
        unavailable(f"{module} isn't there (Debian package libnginx-mod-mail)")
    directory = tmp_path_factory.mktemp("nginx-mail")
    ports = dict(zip(("smtp", "imap", "pop3"), free_ports(3), strict=True))
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}; protocol {protocol}; starttls on; }}\n"
        for protocol, port in ports.items()
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"load_module {module};\ndaemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log stderr;\n"
        f"events {{ worker_connections 64; }}\nmail {{\nserver_name localhost;\nauth_http 127.0.0.1:1/;\n"
        f"ssl_certificate {issued.chain_path};\nssl_certificate_key {issued.key_path};\n{servers}}}\n"
    )
    with Program([require("nginx", package="nginx"), "-c", config, "-p", directory]) as server:
        server.wait_for_port(*ports.values())
        yield ports


@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3"])
def test_nginx_for_mail(authority: Authority, nginx_mail: dict[str, int], protocol: str) -> None:
    """It offers passwords in plaintext, as ``starttls on`` says and ``only`` would not."""
    status, found = probe(nginx_mail[protocol], authority, "--starttls", protocol, "--connections", "25")
    assert status == 1
    assert found["STARTTLS injection"]["facts"] == {"executed": False}
    assert "AUTH before TLS" in verdicts(found, "bad")
    assert found["certificate chain"]["facts"]["verified"]
