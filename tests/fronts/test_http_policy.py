"""Tests for :mod:`tlsproxy.fronts.http_policy`."""

import pytest

from tests.fronts.conftest import CLIENT, LOCAL, TLS
from tests.support.http_play import HttpSettings, http_options
from tlsproxy.fronts.http_policy import Answer, HttpPolicy
from tlsproxy.fronts.http_request import Request, parse_request_line, understand
from tlsproxy.fronts.http_syntax import parse_fields
from tlsproxy.fronts.options import FrontOptions
from tlsproxy.identity.client import TlsFacts
from tlsproxy.identity.forwarded import Forwarding

CHALLENGE = "/.well-known/acme-challenge/"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"


def request(line: str, *fields: str) -> Request:
    text = "".join(f"{field}\r\n" for field in fields or ("Host: Example.org:8080",))
    return understand(parse_request_line(line.encode()), parse_fields(text.encode(), 100), size=0)


def answer(
    asked: Request,
    *,
    tls: TlsFacts | None = None,
    trusted: bool = False,
    options: FrontOptions | None = None,
    **settings: object,
) -> Answer | None:
    options = options or http_options(**settings)
    forwarding = Forwarding(CLIENT, LOCAL, tls, trusted=trusted, tell_tls=False)
    return HttpPolicy(options, options.settings).own_answer(asked, forwarding)  # type: ignore[arg-type]


def location(own: Answer | None) -> tuple[int, bytes]:
    assert own is not None
    return own.status, own.fields


@pytest.mark.parametrize(
    ("line", "status", "url"),
    [
        ("GET /a?b=c HTTP/1.1", 301, b"https://example.org/a?b=c"),
        ("HEAD / HTTP/1.1", 301, b"https://example.org/"),
        ("POST / HTTP/1.1", 308, b"https://example.org/"),
        ("OPTIONS * HTTP/1.1", 308, b"https://example.org/"),
        ("GET //evil.example/ HTTP/1.1", 301, b"https://example.org//evil.example/"),
        ("GET http://example.org:8080/x HTTP/1.1", 301, b"https://example.org/x"),
    ],
)
def test_plaintext_is_redirected_to_the_same_by_https(line: str, status: int, url: bytes) -> None:
    assert location(answer(request(line), http_redirect=True)) == (status, b"Location: %b\r\n" % url)


def test_the_redirect_names_what_is_configured() -> None:
    own = answer(
        request("GET / HTTP/1.1"),
        http_redirect=True,
        http_redirect_host="mail.example.org",
        http_redirect_port=8443,
    )
    assert location(own) == (301, b"Location: https://mail.example.org:8443/\r\n")


def test_the_redirect_may_go_to_an_address() -> None:
    own = answer(request("GET / HTTP/1.1", "Host: [2001:DB8::1]:80"), http_redirect=True)
    assert location(own) == (301, b"Location: https://[2001:db8::1]/\r\n")


def test_without_a_host_there_is_nowhere_to_redirect_to() -> None:
    own = answer(request("GET / HTTP/1.0", "X: y"), http_redirect=True)
    assert own is not None
    assert (own.status, own.text) == (400, b"400 Bad Request: no host to redirect to\n")


def test_what_came_by_tls_isn_t_redirected() -> None:
    assert answer(request("GET / HTTP/1.1"), tls=TLS, http_redirect=True) is None


@pytest.mark.parametrize("trusted", [True, False])
def test_a_trusted_proxy_s_word_for_https_counts_and_nobody_else_s(*, trusted: bool) -> None:
    asked = request("GET / HTTP/1.1", "Host: a", "X-Forwarded-Proto: https")
    assert (answer(asked, trusted=trusted, http_redirect=True) is None) is trusted


def challenged(asked: Request, *files: str, **settings: object) -> tuple[Answer | None, list[str]]:
    """With these challenges there, the answer and the tokens that were looked for."""
    looked_for: list[str] = []

    def read_challenge(token: str) -> bytes | None:
        looked_for.append(token)
        return b"key authorization" if token in files else None

    return answer(asked, options=http_options(read_challenge=read_challenge, **settings)), looked_for


@pytest.mark.parametrize("line", [f"GET {CHALLENGE}{TOKEN} HTTP/1.1", f"HEAD {CHALLENGE}{TOKEN} HTTP/1.1"])
def test_a_challenge_is_answered_before_the_redirect(line: str) -> None:
    own, looked_for = challenged(request(line), TOKEN, http_redirect=True)
    assert own == Answer(200, b"key authorization", media_type=b"application/octet-stream")
    assert looked_for == [TOKEN]


def test_a_challenge_that_isn_t_there_is_a_request_like_any_other() -> None:
    asked = request(f"GET {CHALLENGE}{TOKEN} HTTP/1.1")
    assert challenged(asked) == (None, [TOKEN])
    own, _ = challenged(asked, http_redirect=True)
    assert location(own)[0] == 301


@pytest.mark.parametrize(
    "line",
    [
        f"POST {CHALLENGE}{TOKEN} HTTP/1.1",
        f"GET {CHALLENGE} HTTP/1.1",
        f"GET {CHALLENGE}.. HTTP/1.1",
        f"GET {CHALLENGE}../../etc/passwd HTTP/1.1",
        f"GET {CHALLENGE}a/b HTTP/1.1",
        f"GET {CHALLENGE}%2e%2e HTTP/1.1",
        f"GET {CHALLENGE}a.b HTTP/1.1",
        f"GET {CHALLENGE}{'a' * 129} HTTP/1.1",
        f"GET /x{CHALLENGE}{TOKEN} HTTP/1.1",
    ],
)
def test_what_is_no_token_is_looked_for_nowhere(line: str) -> None:
    assert challenged(request(line), "..", "a") == (None, [])


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "PURGE"])
def test_a_refused_method_is_told_what_is_allowed(method: str) -> None:
    target = "example.org:443" if method == "CONNECT" else "/"
    own = answer(
        request(f"{method} {target} HTTP/1.1", "Host: example.org:443"),
        http_refused_methods=("CONNECT", "TRACE", "PURGE"),
    )
    assert own is not None
    assert own.status == 405
    assert b"Allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n" in own.fields


@pytest.mark.parametrize(("length", "status"), [(10, None), (11, 413)])
def test_a_body_above_the_limit_is_refused_by_its_length(length: int, status: int | None) -> None:
    own = answer(request("PUT / HTTP/1.1", "Host: a", f"Content-Length: {length}"), http_max_body_size=10)
    assert (own.status if own is not None else None) == status


@pytest.mark.parametrize(
    ("line", "forwards", "status"),
    [
        ("OPTIONS / HTTP/1.1", "0", 200),
        ("OPTIONS / HTTP/1.1", "1", None),
        ("GET / HTTP/1.1", "0", None),
        ("OPTIONS / HTTP/1.1", "9999999999", None),
        ("OPTIONS / HTTP/1.1", "x", None),
    ],
)
def test_options_that_was_forwarded_often_enough_ends_here(
    line: str, forwards: str, status: int | None
) -> None:
    own = answer(request(line, "Host: a", f"Max-Forwards: {forwards}"))
    assert (own.status if own is not None else None) == status


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, b""),
        ({"http_hsts": 300}, b"Strict-Transport-Security: max-age=300\r\n"),
        (
            {"http_hsts": 300, "http_hsts_include_subdomains": True},
            b"Strict-Transport-Security: max-age=300; includeSubDomains\r\n",
        ),
        ({"http_hsts_preload": True}, b""),
    ],
)
def test_hsts_is_as_configured(settings: dict[str, object], line: bytes) -> None:
    assert HttpPolicy(http_options(), HttpSettings(**settings)).hsts == line  # type: ignore[arg-type]


def test_upgrades_are_known_in_any_case() -> None:
    policy = HttpPolicy(http_options(), HttpSettings(http_upgrades=("WebSocket",)))
    asked = request("GET / HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: webSocket")
    assert policy.upgrades(asked)
    assert not policy.upgrades(request("GET / HTTP/1.1"))
    assert not HttpPolicy(http_options(), HttpSettings(http_upgrades=("",))).upgrades(
        request("GET / HTTP/1.1")
    )
