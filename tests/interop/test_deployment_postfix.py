"""``docs/deployment-postfix.md``, with its own samples: mail comes in, submission is guarded, no stranger is trusted."""

import re
import smtplib
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.certificates import Authority
from tests.support.postfix import DOMAIN, Postfix, Smtpd
from tests.support.processes import run
from tests.support.proxy import Proxy

PAGE = (Path(__file__).parents[2] / "docs/deployment-postfix.md").read_text()

STRANGER = "127.0.0.2"
ELSEWHERE = "victim@elsewhere.example"


@frozen
class Site:
    postfix: Postfix
    proxy: Proxy
    config: Path

    def port(self, listen: str) -> int:
        return self.proxy.ports()[["smtp", "submission", "submissions"].index(listen)]


def services() -> list[Smtpd]:
    """Those in the page's lines for ``master.cf``."""
    entries = re.findall(r"^127\.0\.0\.1:\d+ inet n - y - - smtpd\n((?: +-o .*\n)+)", PAGE, re.MULTILINE)
    assert len(entries) == 2
    options = [
        dict(line.split("-o ", 1)[1].split("=", 1) for line in entry.splitlines()) for entry in entries
    ]
    options[1]["smtpd_sasl_auth_enable"] = "no"  # there is no SASL server here to ask for passwords
    return [Smtpd(each) for each in options]


@pytest.fixture(scope="module")
def site(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    certificate = authority.issue("127.0.0.1", key_type="rsa")
    toml = PAGE.split("```toml\n")[1].split("```")[0]
    with Postfix(services(), {"mynetworks": "127.0.0.1/32", "default_transport": "discard:"}) as postfix:
        for written, real in {
            "credential:tls_certificate": str(certificate.chain_path),
            "credential:tls_key": str(certificate.key_path),
            "127.0.0.1:9465": "127.0.0.1:0",
            "127.0.0.1:2525": f"127.0.0.1:{postfix.ports[0]}",
            "127.0.0.1:2587": f"127.0.0.1:{postfix.ports[1]}",
            "0.0.0.0:25": "127.0.0.1:0",
            "0.0.0.0:587": "127.0.0.1:0",
            "0.0.0.0:465": "127.0.0.1:0",
        }.items():
            assert f'"{written}"' in toml
            toml = toml.replace(f'"{written}"', f'"{real}"')
        with Proxy.start(directory, toml) as proxy:
            proxy.wait_until(lambda: len(proxy.ports()) == 3, "not every listen is open")
            yield Site(postfix, proxy, directory / "tlsproxy.toml")


@pytest.mark.parametrize("tls", [False, True])
def test_mail_comes_in_with_tls_or_without(site: Site, client_context: ssl.SSLContext, tls: bool) -> None:
    marker = f"by-way-of-the-proxy-{tls}"
    with smtplib.SMTP("127.0.0.1", site.port("smtp"), source_address=(STRANGER, 0)) as session:
        if tls:
            session.starttls(context=client_context)
        session.sendmail("a@client.example", [f"user@{DOMAIN}"], f"Subject: {marker}")
    site.postfix.wait_for_message(marker.encode())
    site.postfix.wait_for_log(rf"postfix/tlsproxy/smtpd\[\d+\]: .*client=unknown\[{STRANGER}\]")


def test_nobody_relays_by_the_trust_in_this_machine(site: Site) -> None:
    with smtplib.SMTP("127.0.0.1", site.port("smtp"), source_address=(STRANGER, 0)) as session:
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="Relay access denied"):
            session.sendmail("a@client.example", [ELSEWHERE], "Subject: x")


def test_submission_takes_nothing_without_tls(site: Site) -> None:
    with smtplib.SMTP("127.0.0.1", site.port("submission")) as session:
        session.ehlo()
        assert session.docmd("MAIL FROM:<a@client.example>")[0] == 530


@pytest.mark.parametrize("listen", ["submission", "submissions"])
def test_submission_takes_nothing_from_those_who_have_not_logged_in(
    site: Site, client_context: ssl.SSLContext, listen: str
) -> None:
    session: smtplib.SMTP
    if listen == "submissions":
        session = smtplib.SMTP_SSL("127.0.0.1", site.port(listen), context=client_context)
    else:
        session = smtplib.SMTP("127.0.0.1", site.port(listen))
        session.starttls(context=client_context)
    with session, pytest.raises(smtplib.SMTPRecipientsRefused):
        session.sendmail("a@client.example", [f"user@{DOMAIN}"], "Subject: x")
    site.postfix.wait_for_log(r"postfix/submission/smtpd\[\d+\]: NOQUEUE: reject")


def test_the_relay_test_of_the_page_finds_nothing(site: Site) -> None:
    [arguments] = re.findall(r"^tlsproxy (probe) \S+ (--relay-test)$", PAGE, re.MULTILINE)
    command, option = arguments
    tlsproxy = Path(sys.executable).with_name("tlsproxy")
    status, output = run([tlsproxy, command, str(site.config), option], timeout=30)
    assert status == 0, output
