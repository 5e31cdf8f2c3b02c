"""``tls_certificate_guard``, from files: warned of at the start, refused by a reload."""

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.certificates import Authority, Issued
from tlsproxy.errors import ConfigurationError
from tlsproxy.service.prepare import Prepared, prepare


def tlsa(issued: Issued, host: str = "mx.example.org") -> str:
    key = issued.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"_25._tcp.{host}. 3600 IN TLSA 3 1 1 {sha256(key).hexdigest()}\n"


class World:
    def __init__(self, directory: Path, authority: Authority) -> None:
        self.authority = authority
        self.records = directory / "tlsa"
        self.chain, self.key = directory / "live.pem", directory / "live.key"
        self.config = directory / "tlsproxy.toml"
        self.write("tls_certificate_guard = true")

    def write(self, options: str) -> None:
        self.config.write_text(
            f'{options}\ntls_certificate = "live.pem"\ntls_key = "live.key"\n[backend.b]\nservers = ["127.0.0.1:9"]\n'
            '[[stream_listener]]\nbackend = "b"\n[[stream_listener.listen]]\naddress = "127.0.0.1:0"\n'
        )

    def install(self, *names: str, end: timedelta = timedelta(days=90)) -> Issued:
        issued = self.authority.issue(*names, not_after=datetime.now(UTC) + end)
        self.chain.write_bytes(issued.chain_path.read_bytes())
        self.key.write_bytes(issued.key_path.read_bytes())
        self.key.chmod(0o600)
        return issued

    def replace(self, running: Prepared) -> Prepared:
        return prepare(self.config, replacing=running.names_by_certificate)


@pytest.fixture
def world(tmp_path: Path, authority: Authority) -> World:
    return World(tmp_path, authority)


def refused(world: World, running: Prepared) -> str:
    with pytest.raises(ConfigurationError) as error:
        world.replace(running)
    [problem] = error.value.problems
    assert problem.path == "tls_certificate_guard"
    return problem.message


def test_a_reload_refuses_what_lost_a_name(world: World) -> None:
    world.install("mx.example.org", "mail.example.org")
    running = prepare(world.config)
    world.install("mx.example.org")
    assert (
        refused(world, running) == f"{world.chain}: is no longer for mail.example.org, as the one in use is"
    )
    world.write("")
    assert world.replace(running).warnings == ()


def test_a_reload_refuses_what_has_expired_and_a_start_warns(world: World) -> None:
    world.install("mx.example.org")
    running = prepare(world.config)
    world.install("mx.example.org", end=timedelta(seconds=-10))
    assert re.search("expired on", refused(world, running))
    assert any(warning.path == "tls_certificate_guard" for warning in prepare(world.config).warnings)


def test_records_are_read_and_must_match(world: World) -> None:
    world.write('tls_certificate_guard = true\ntls_certificate_tlsa = "tlsa"')
    world.records.write_text(tlsa(world.install("mx.example.org")))
    running = prepare(world.config)
    assert running.warnings == ()
    world.install("mx.example.org")
    assert refused(world, running) == f"{world.chain}: matches no TLSA record of _25._tcp.mx.example.org"
    [warning] = prepare(world.config).warnings
    assert "matches no TLSA record" in warning.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("3 1 1 ab\n", "line 1: the digest has 1 bytes"),
        ("; none\n", "has no TLSA record in it"),
        (None, "no such file"),
    ],
)
def test_records_that_cannot_be_read_are_an_error(world: World, content: str | None, message: str) -> None:
    world.write('tls_certificate_tlsa = "tlsa"')
    world.install("mx.example.org")
    if content is not None:
        world.records.write_text(content)
    with pytest.raises(ConfigurationError, match=f"tls_certificate_tlsa: {world.records}: {message}"):
        prepare(world.config)
