"""docs/report.md, followed step by step with its own samples: nobody who was served before is shut out unawares."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from tests.interop.test_report import LEVEL_0, openssl_mail, tlsproxy
from tests.support.certificates import Authority, Issued
from tests.support.mail_backend import MailBackend
from tests.support.processes import ProgramError, free_port, run
from tests.support.programs import require
from tests.support.proxy import Proxy
from tlsproxy.cli.report import COLUMNS

pytestmark = pytest.mark.interop

TEXT = (Path(__file__).parents[2] / "docs/report.md").read_text()
SAMPLES = re.findall(r"^```toml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
SHOWN = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)

COPIER, PARTNER, MODERN = "127.3.7.9", "127.0.2.7", "127.0.2.99"


@define
class World:
    """A machine with the proxy, where each of the samples can be put into force."""

    directory: Path
    certificate: Issued
    mail: MailBackend
    port: int = field(factory=free_port)
    proxy: Proxy | None = None

    @property
    def database(self) -> Path:
        return self.directory / "report.db"

    def run(self, sample: str) -> None:
        """Stop what runs, and start with a sample."""
        if self.proxy is not None:
            self.proxy.stop()
        for written, real in {
            '"/var/lib/tlsproxy/report.db"': f'"{self.database}"',
            '"/etc/tlsproxy/mx.example.org.pem"': f'"{self.certificate.chain_path}"',
            '"/etc/tlsproxy/mx.example.org.key"': f'"{self.certificate.key_path}"',
            '"127.0.0.1:2525"': f'"{self.mail.address}"',
            '"xclient"': '"none"',
            '"0.0.0.0:25"': f'"127.0.0.1:{self.port}"',
            '"10.0.0.0/8"': '"127.3.0.0/16"',
            '"10.3.7.0/24"': '"127.3.7.0/24"',
        }.items():
            sample = sample.replace(written, real)
        self.proxy = Proxy.start(self.directory, sample)

    def mails(self, client: str, version: str, name: str) -> None:
        """Send from an address."""
        starttls = ["-starttls", "smtp", "-name", name, "-bind", f"{client}:0"]
        openssl_mail(self.port, version, name, *starttls)

    def everybody_mails(self) -> None:
        for _ in range(2):
            self.mails(COPIER, "-tls1", "copier-3.example.org")
        self.mails(PARTNER, "-tls1_1", "mail.partner.example")
        for version in ("-tls1_2", "-tls1_3"):
            self.mails(MODERN, version, "modern.example")

    def report(self, *more: str) -> tuple[int, str]:
        """What the command of the document says, once all sessions are in."""
        assert self.proxy is not None
        self.proxy.stop()
        return tlsproxy("report", "--config", str(self.directory / "tlsproxy.toml"), *more)


@pytest.fixture
def world(authority: Authority, tmp_path: Path) -> Iterator[World]:
    certificate = authority.issue("mx.example.org", key_type="rsa")
    with MailBackend() as mail:
        world = World(tmp_path, certificate, mail)
        yield world
        if world.proxy is not None:
            world.proxy.stop()


def test_the_steps_lead_from_everything_to_tls_1_2_without_shutting_out_who_is_known(world: World) -> None:
    name_the_candidate, pathway, enforce = SAMPLES

    world.run(name_the_candidate)
    world.everybody_mails()
    status, output = world.report()
    assert status == 1
    assert "  3 of 5 TLS sessions since " in output
    assert " would be refused (60.0 %): 2 with TLSv1, 1 with TLSv1.1\n  they came from 2 networks\n" in output
    assert re.search(rf"^{COPIER}/32 +copier-3\.example\.org .* 2 ", output, re.MULTILINE)
    assert re.search(r"^127\.0\.2\.0/24 +mail\.partner\.example .* 1 ", output, re.MULTILINE)

    assert world.report("--forget") == (0, f"{world.database}: 2 rows forgotten\n")
    assert world.report("--since", "30d")[0] == 3, "nobody has come by since"

    world.run(pathway)
    world.mails(COPIER, "-tls1", "copier-3.example.org")
    world.mails(PARTNER, "-tls1_2", "mail.partner.example")  # which was updated
    status, output = world.report("--since", "30d")
    assert (status, output.splitlines()[1].split(" since ")[0]) == (
        0,
        "  nobody would be refused, of 1 TLS session",
    )

    world.run(enforce)
    world.mails(COPIER, "-tls1", "copier-3.example.org")
    world.mails(PARTNER, "-tls1_2", "mail.partner.example")
    openssl = require("openssl", package="openssl")
    where = ["-connect", f"127.0.0.1:{world.port}", "-starttls", "smtp", "-bind", f"{MODERN}:0"]
    status, output = run([openssl, "s_client", *where, "-tls1_1", *LEVEL_0])
    assert status != 0
    assert "alert protocol version" in output
    assert world.proxy is not None
    assert world.proxy.wait_for_note("tls_refused")["offered_versions"] == "<=TLSv1.1"


def test_the_last_step_refuses_whom_the_report_named(world: World) -> None:
    world.run(SAMPLES[2])
    with pytest.raises(ProgramError):
        world.mails(PARTNER, "-tls1_1", "mail.partner.example")


def test_the_table_shown_has_the_columns_of_the_command() -> None:
    [shown] = [output for command, output in SHOWN if command.endswith("tlsproxy.toml")]
    heading = next(line for line in shown.splitlines() if line.startswith("network"))
    assert re.split(r" {2,}", heading) == list(COLUMNS)


def test_the_exit_statuses_are_those_that_the_document_names() -> None:
    assert (
        "The exit status is 0 if nobody would be refused, 1 if somebody\nwould, and 3 if that isn't known"
        in TEXT
    )
