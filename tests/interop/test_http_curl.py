"""curl through the proxy, to Python's http.server."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define

from tests.support.certificates import Authority
from tests.support.http_servers import BLOCK, HttpServer, digest_of_download
from tests.support.processes import run
from tests.support.programs import require
from tests.support.proxy import Proxy

pytestmark = pytest.mark.interop

LARGE = 64 * 1024 * 1024

CONFIG = """
    tls_certificate = "{certificate.chain_path}"
    tls_key = "{certificate.key_path}"
    [backend.web]
    servers = ["{backend}"]
    [[http_listener]]
    backend = "web"
      [[http_listener.listen]]
      address = "127.0.0.1:0"
      http_hsts = 31536000
      http_tls_headers = true
      [[http_listener.listen]]
      address = "127.0.0.1:0"
      tls_security_level = "none"
      http_redirect = true
      acme_challenge_directory = "{challenges}"
      [[http_listener.listen]]
      address = "127.0.0.1:0"
      trusted_proxies = ["127.0.0.1"]
"""
LISTENS = ["https", "redirect", "behind a proxy"]

SPOOFED = {
    "X-Forwarded-For": "198.51.100.1",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "Forwarded": "for=198.51.100.1",
    "Via": "1.1 evil",
    "X-TLS-Version": "SSLv2",
    "X_TLS_Cipher": "NULL",
}


@define
class Place:
    """A proxy with a server behind it."""

    proxy: Proxy
    server: HttpServer
    ca: Path

    def curl(self, path: str, *options: str | Path, listen: str = "https") -> tuple[int, str]:
        """Exit status and output of curl, told to say nothing but what is asked for."""
        scheme = "http" if listen == "redirect" else "https"
        curl = require("curl", package="curl")
        authority = f"localhost:{self.proxy.ports()[LISTENS.index(listen)]}"
        return run(
            [curl, "-q", "-sS", "-4", "--cacert", self.ca, *options, f"{scheme}://{authority}{path}"],
            timeout=60,
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("curl")
    authority = Authority(directory)
    challenges = directory / "challenges"
    challenges.mkdir()
    (challenges / "token-1").write_text("token-1.thumbprint")
    with HttpServer() as server:
        toml = CONFIG.format(
            certificate=authority.issue("localhost"), backend=server.address, challenges=challenges
        )
        with Proxy.start(directory, toml) as proxy:
            proxy.wait_until(lambda: len(proxy.ports()) == len(LISTENS), "not every listen is open")
            yield Place(proxy, server, authority.path)


@pytest.fixture
def place(running: Place) -> Place:
    running.server.heard.clear()
    return running


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "upload"
    path.write_bytes(BLOCK * (LARGE // len(BLOCK)))
    return path


def test_get_head_and_post_are_answered(place: Place) -> None:
    assert place.curl("/a?b=c")[0] == 0
    status, head = place.curl("/a", "-I")
    assert (status, head.split("\r\n")[0]) == (0, "HTTP/1.1 200 OK")
    status, said = place.curl("/a", "-d", "hello")
    assert (status, json.loads(said)["digest"]) == (0, hashlib.sha256(b"hello").hexdigest())
    assert [(heard.method, heard.path) for heard in place.server.heard] == [
        ("GET", "/a?b=c"),
        ("HEAD", "/a"),
        ("POST", "/a"),
    ]


def test_a_large_download_is_whole(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "download"
    assert place.curl(f"/download/{LARGE}", "-o", path) == (0, "")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest_of_download(LARGE)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="with its length"),
        pytest.param(["-H", "Transfer-Encoding: chunked"], id="chunked"),
        pytest.param(
            ["-H", "Expect: 100-continue", "--expect100-timeout", "30"], id="when it is told to go on"
        ),
    ],
)
def test_a_large_upload_is_whole(place: Place, large: Path, options: list[str]) -> None:
    status, said = place.curl("/up", "-T", large, *options)
    assert status == 0
    answer = json.loads(said)
    assert (answer["length"], answer["digest"]) == (LARGE, digest_of_download(LARGE))


def test_two_requests_use_one_connection(place: Place) -> None:
    url = f"https://localhost:{place.proxy.ports()[0]}/second"
    status, said = place.curl("/first", "-w", "<%{num_connects}>", url)
    assert status == 0
    assert (said.count("<1>"), said.count("<0>")) == (1, 1)
    assert len({heard.connection for heard in place.server.heard}) == 1


def test_a_plaintext_listen_redirects(place: Place) -> None:
    status, head = place.curl("/x?y=1", "-i", listen="redirect")
    assert status == 0
    assert head.startswith(("HTTP/1.1 301 ", "HTTP/1.1 308 "))
    assert "\r\nLocation: https://localhost/x?y=1\r\n" in head
    assert place.server.heard == []


def test_a_challenge_is_answered_before_the_redirect(place: Place) -> None:
    path = "/.well-known/acme-challenge/token-1"
    assert place.curl(path, "-f", listen="redirect") == (0, "token-1.thumbprint")
    assert place.server.heard == []


def test_hsts_is_said_over_tls_alone(place: Place) -> None:
    assert "\r\nStrict-Transport-Security: max-age=31536000\r\n" in place.curl("/", "-i")[1]
    assert "strict-transport-security" not in place.curl("/", "-i", listen="redirect")[1].lower()


def test_what_a_client_says_of_itself_is_replaced(place: Place) -> None:
    options = [word for name, value in SPOOFED.items() for word in ("-H", f"{name}: {value}")]
    assert place.curl("/", *options)[0] == 0
    (heard,) = place.server.heard
    port = place.proxy.ports()[0]
    assert heard.fields["host"] == [f"localhost:{port}"]
    assert heard.fields["x-forwarded-for"] == ["127.0.0.1"]
    assert heard.fields["x-forwarded-proto"] == ["https"]
    assert heard.fields["x-forwarded-port"] == [str(port)]
    assert heard.fields["x-forwarded-host"] == [f"localhost:{port}"]
    assert heard.fields["forwarded"] == [f'for=127.0.0.1;host="localhost:{port}";proto=https']
    assert heard.fields["via"] == ["1.1 tlsproxy"]
    assert heard.fields["x-tls-version"] == ["TLSv1.3"]
    assert heard.fields["x-tls-cipher"][0].startswith("TLS_")
    assert "x_tls_cipher" not in heard.fields


def test_a_trusted_proxy_is_believed_but_not_of_tls(place: Place) -> None:
    options = [word for name, value in SPOOFED.items() for word in ("-H", f"{name}: {value}")]
    assert place.curl("/", *options, listen="behind a proxy")[0] == 0
    (heard,) = place.server.heard
    assert heard.fields["x-forwarded-for"] == ["198.51.100.1, 127.0.0.1"]
    assert heard.fields["x-forwarded-proto"] == ["http"]
    assert heard.fields["x-forwarded-host"] == ["evil.example"]
    assert heard.fields["via"] == ["1.1 evil, 1.1 tlsproxy"]
    assert not [name for name in heard.fields if "tls" in name]
