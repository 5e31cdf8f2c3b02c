"""``tlsproxy probe --relay-test`` at a real Postfix that trusts its own machine, as most do."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postfix import DOMAIN, Postfix, Smtpd

_TRUSTING = {
    "mynetworks": "127.0.0.0/8",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
}
SERVICES = {
    "none": Smtpd(_TRUSTING),
    "xclient": Smtpd({**_TRUSTING, "smtpd_authorized_xclient_hosts": "127.0.0.0/8"}),
    "haproxy": Smtpd({**_TRUSTING, "smtpd_upstream_proxy_protocol": "haproxy"}),
    "one address": Smtpd({**_TRUSTING, "mynetworks": "127.0.0.1"}),
    "deferring": Smtpd({**_TRUSTING, "smtpd_recipient_restrictions": "defer"}),
}


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with Postfix(list(SERVICES.values()), {"default_transport": "discard:"}) as running:
        yield running


def probe(
    postfix: Postfix, directory: Path, service: str, *options: str, backend: str = ""
) -> tuple[int, str]:
    """Exit status and output, for a backend that is this service."""
    config = directory / "tlsproxy.toml"
    config.write_text(
        f"""
        tls_security_level = "none"
        [backend.mta]
        servers = ["127.0.0.1:{postfix.ports[list(SERVICES).index(service)]}"]
        {backend}
        [[esmtp_listener]]
        backend = "mta"
          [[esmtp_listener.listen]]
          address = "127.0.0.1:0"
        """
    )
    tlsproxy = shutil.which("tlsproxy", path=str(Path(sys.executable).parent))
    assert tlsproxy is not None
    command = [tlsproxy, "probe", str(config), "--relay-test", *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
    return result.returncode, result.stdout


@pytest.mark.parametrize("identity", ["none", "trace_header"])
def test_who_sees_every_client_as_the_proxy_relays_for_all(
    postfix: Postfix, tmp_path: Path, identity: str
) -> None:
    status, output = probe(postfix, tmp_path, "none", backend=f'identity = "{identity}"')
    assert status == 1
    assert "127.0.0.1    RELAYS: 250 2.1.5 Ok" in output


@pytest.mark.parametrize(
    ("identity", "service"), [("xclient", "xclient"), ("proxy_v1", "haproxy"), ("proxy_v2", "haproxy")]
)
def test_who_is_told_of_the_client_refuses(
    postfix: Postfix, tmp_path: Path, identity: str, service: str
) -> None:
    status, output = probe(postfix, tmp_path, service, "--json", backend=f'identity = "{identity}"')
    assert status == 0
    (result,) = json.loads(output)
    assert (result["verdict"], result["client_seen"]) == ("refuses", "192.0.2.1")
    assert result["detail"] == "554 5.7.1 <relay-test@example.com>: Relay access denied"


def test_another_source_address_helps_where_only_one_is_trusted(postfix: Postfix, tmp_path: Path) -> None:
    assert probe(postfix, tmp_path, "one address")[0] == 1
    assert probe(postfix, tmp_path, "one address", backend='source_address = "127.0.0.9"')[0] == 0


def test_who_offers_no_xclient_is_not_asked(postfix: Postfix, tmp_path: Path) -> None:
    status, output = probe(postfix, tmp_path, "none", backend='identity = "xclient"')
    assert status == 3
    assert "could not be tested: XCLIENT isn't offered to the proxy" in output


def test_who_defers_is_not_known(postfix: Postfix, tmp_path: Path) -> None:
    status, output = probe(postfix, tmp_path, "deferring")
    assert status == 3
    assert "could not be tested: the recipient was answered 450 4.3.2" in output


def test_mail_for_the_server_s_own_domain_shows_nothing_but_that_it_takes_it(
    postfix: Postfix, tmp_path: Path
) -> None:
    """The recipient has to be one that the server isn't responsible for."""
    own = ["--recipient", f"user@{DOMAIN}"]
    assert probe(postfix, tmp_path, "xclient", *own, backend='identity = "xclient"')[0] == 1


def test_nothing_is_ever_sent(postfix: Postfix, tmp_path: Path) -> None:
    probe(postfix, tmp_path, "none")
    postfix.wait_for_log(r"disconnect from .* ehlo=1 mail=1 rcpt=1 rset=1 quit=1 commands=5$")
    assert " qmgr[" not in postfix.log
    assert "cleanup[" not in postfix.log
