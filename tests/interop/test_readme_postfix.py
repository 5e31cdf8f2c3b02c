"""The README's way to put the proxy in front of Postfix, with its own samples: mail comes in, and nothing is relayed."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.postfix import DOMAIN, Postfix, Smtpd
from tests.support.processes import Program, run
from tests.support.programs import require
from tests.support.proxy import Proxy

pytestmark = pytest.mark.interop

README = (Path(__file__).parents[2] / "README.md").read_text()


def smtpd_of_the_readme() -> Smtpd:
    entry = re.search(r"^127\.0\.0\.1:2465 inet n - y - - smtpd\n((?: +-o .*\n)+)", README, re.MULTILINE)
    assert entry is not None
    options = dict(line.split("-o ", 1)[1].split("=", 1) for line in entry[1].splitlines())
    # No SASL library is asked for here: without authentication nobody may relay, which is what is tested.
    return Smtpd(options | {"smtpd_sasl_auth_enable": "no"})


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    """One that trusts its own machine, as they do, and a second service without the README's options."""
    options = {
        "mynetworks": "127.0.0.0/8",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
        "smtpd_client_connection_count_limit": "1",
        "default_transport": "discard:",
    }
    with Postfix([smtpd_of_the_readme(), Smtpd()], options) as postfix:
        yield postfix


@pytest.fixture(scope="module")
def proxy(
    postfix: Postfix, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    sample = README.split("```toml\n")[1].split("```")[0]
    certificate = authority.issue("mx.example.org", key_type="rsa")
    for name, real in {
        "/etc/tlsproxy/mx.example.org.pem": str(certificate.chain_path),
        "/etc/tlsproxy/mx.example.org.key": str(certificate.key_path),
        "127.0.0.1:2465": f"127.0.0.1:{postfix.port}",
        "0.0.0.0:465": "127.0.0.1:0",
        "10.3.0.0/16": "127.0.0.3",
    }.items():
        assert name in sample
        sample = sample.replace(name, real)
    assert tomllib.loads(sample)["tls_protocols"] == ">=TLSv1.2"
    with Proxy.start(tmp_path_factory.mktemp("proxy"), sample) as proxy:
        yield proxy


def send(url: str, recipient: str, message: Path) -> tuple[int, str]:
    """Send ``message``, and what was said on the way."""
    curl = require("curl", package="curl")
    addresses = ["--mail-from", "a@client.example", "--mail-rcpt", recipient]
    return run([curl, "--verbose", "--insecure", "--upload-file", str(message), *addresses, url])


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "message"
    path.write_bytes(b"Subject: test\r\n\r\nby way of the proxy\r\n")
    return path


def test_mail_for_the_server_s_own_domain_comes_in(postfix: Postfix, proxy: Proxy, message: Path) -> None:
    status, output = send(f"smtps://127.0.0.1:{proxy.ports()[0]}", f"user@{DOMAIN}", message)
    assert status == 0, output
    assert b"by way of the proxy" in postfix.wait_for_messages(1)[0]


def test_nothing_is_relayed_for_a_client_that_looks_local(
    postfix: Postfix, proxy: Proxy, message: Path
) -> None:
    """The sample's ``mynetworks=`` is what stands between this and an open relay: without it Postfix takes the mail."""
    elsewhere = "victim@elsewhere.example"
    status, output = send(f"smtps://127.0.0.1:{proxy.ports()[0]}", elsewhere, message)
    assert status != 0
    assert f"554 5.7.1 <{elsewhere}>: Relay access denied" in output
    assert send(f"smtp://127.0.0.1:{postfix.ports[1]}", elsewhere, message)[0] == 0


def test_clients_are_not_counted_as_one(postfix: Postfix, proxy: Proxy) -> None:
    """This Postfix takes one connection at a time from an address, unless it is excepted."""
    openssl = require("openssl", package="openssl")
    through = [openssl, "s_client", "-quiet", "-connect", f"127.0.0.1:{proxy.ports()[0]}"]
    with Program(through) as one, Program(through) as another:
        for client in (one, another):
            client.wait_for_output(f"^220 mx.{DOMAIN} ")
