"""The README's way to put the proxy in front of Postfix, with its own samples: mail comes in, and nothing is relayed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.postfix import DOMAIN, Postfix, Smtpd
from tests.support.processes import run
from tests.support.programs import require
from tests.support.proxy import Proxy

pytestmark = pytest.mark.interop

README = (Path(__file__).parents[2] / "README.md").read_text()

STRANGER = "127.0.0.2"
"""A client that Postfix, which trusts 127.0.0.1 here, has no reason to trust."""

SCANNER = "127.0.0.3"


def smtpd_of_the_readme() -> Smtpd:
    entry = re.search(r"^127\.0\.0\.1:2525 inet n - y - - smtpd\n((?: +-o .*\n)+)", README, re.MULTILINE)
    assert entry is not None
    return Smtpd(dict(line.split("-o ", 1)[1].split("=", 1) for line in entry[1].splitlines()))


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    """One that trusts its own address and would relay for it."""
    options = {
        "mynetworks": "127.0.0.1/32",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
        "default_transport": "discard:",
    }
    with Postfix([smtpd_of_the_readme()], options) as postfix:
        yield postfix


@pytest.fixture(scope="module")
def proxy(
    postfix: Postfix, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    sample = README.split("```toml\n")[1].split("```")[0]
    certificate = authority.issue("mx.example.org", key_type="rsa")
    for written, real in {
        "/etc/tlsproxy/mx.example.org.pem": str(certificate.chain_path),
        "/etc/tlsproxy/mx.example.org.key": str(certificate.key_path),
        "127.0.0.1:2525": f"127.0.0.1:{postfix.port}",
        "0.0.0.0:25": "127.0.0.1:0",
        "0.0.0.0:465": "127.0.0.1:0",
        "10.3.0.0/16": SCANNER,
    }.items():
        assert written in sample
        sample = sample.replace(f'"{written}"', f'"{real}"')
    with Proxy.start(tmp_path_factory.mktemp("proxy"), sample) as proxy:
        proxy.wait_until(lambda: len(proxy.ports()) == 2, "not both listens are open")
        yield proxy


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "message"
    path.write_bytes(b"Subject: test\r\n\r\nby way of the proxy\r\n")
    return path


def send(url: str, recipient: str, message: Path, *options: str, client: str = STRANGER) -> tuple[int, str]:
    """Send ``message``, and what was said on the way."""
    curl = require("curl", package="curl")
    addresses = ["--interface", client, "--mail-from", "a@client.example", "--mail-rcpt", recipient]
    return run([curl, "--verbose", "--insecure", "--upload-file", str(message), *addresses, *options, url])


def urls(proxy: Proxy) -> list[tuple[str, list[str]]]:
    starttls, smtps = proxy.ports()
    return [(f"smtp://127.0.0.1:{starttls}", ["--ssl-reqd"]), (f"smtps://127.0.0.1:{smtps}", [])]


def test_mail_for_the_server_s_own_domain_comes_in_on_both_ports(
    postfix: Postfix, proxy: Proxy, message: Path
) -> None:
    for url, options in urls(proxy):
        status, output = send(url, f"user@{DOMAIN}", message, *options)
        assert status == 0, output
    for received in postfix.wait_for_messages(2):
        assert b"by way of the proxy" in received


def test_postfix_learns_who_the_client_is_and_relays_for_no_stranger(
    postfix: Postfix, proxy: Proxy, message: Path
) -> None:
    elsewhere = "victim@elsewhere.example"
    for url, options in urls(proxy):
        status, output = send(url, elsewhere, message, *options)
        assert status != 0
        assert f"554 5.7.1 <{elsewhere}>: Relay access denied" in output
    postfix.wait_for_log(rf"NOQUEUE: reject: RCPT from .*\[{STRANGER}\]: 554 5\.7\.1 <{elsewhere}>")


def test_postfix_would_relay_for_its_own_machine(proxy: Proxy, message: Path) -> None:
    """Else the refusal above would show nothing."""
    url, options = urls(proxy)[0]
    status, output = send(url, "anybody@elsewhere.example", message, *options, client="127.0.0.1")
    assert status == 0, output


@pytest.mark.parametrize(("client", "accepted"), [(STRANGER, False), (SCANNER, True)])
def test_only_the_scanners_may_speak_old_tls(proxy: Proxy, client: str, accepted: bool) -> None:
    openssl = require("openssl", package="openssl")
    where = ["-connect", f"127.0.0.1:{proxy.ports()[0]}", "-bind", f"{client}:0", "-starttls", "smtp"]
    status, output = run([openssl, "s_client", *where, "-tls1", "-cipher", "DEFAULT@SECLEVEL=0", "-brief"])
    assert ("Protocol version: TLSv1\n" in output) is accepted
    assert (status == 0) is accepted
