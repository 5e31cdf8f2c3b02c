"""The status page of a running proxy, as a browser shows it: light, dark and on a telephone."""

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Issued
from tests.support.chromium import Browser
from tests.support.mail_proxy import trusting
from tests.support.processes import free_ports
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo
from tlsproxy.ops.status.model import service_from_values

CONFIG = """
status_listen = {status}
metrics_listen = {metrics}
tls_certificate = "{certificate.chain_path}"
tls_key = "{certificate.key_path}"
tls_protocols_report = "TLSv1.3"
[pathway.scanners]
tls_protocols = ">=TLSv1, <=TLSv1.2"
tls_ciphers = "DEFAULT"
[backend.echo]
servers = ["{backend.address}", "127.0.0.1:{closed}"]
[[stream_listener]]
backend = "echo"
  [[stream_listener.listen]]
  address = "127.0.0.1:0"
    [[stream_listener.listen.peer]]
    network = "10.3.0.0/16"
    pathway = "scanners"
[[esmtp_listener]]
backend = "echo"
  [[esmtp_listener.listen]]
  address = "unix:{directory}/a-socket-with-a-name-that-is-much-longer-than-most-are.sock"
"""

SIZES = {"light": (1280, False), "dark": (1280, True), "narrow": (375, False), "narrow-dark": (375, True)}
"""Width in CSS pixels, and whether the colours are dark: a desk, and the narrowest telephone in use."""

CONTRAST = """
(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("script, style, .unseen, .skip")) continue;
    const light = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))];
    const ratio = (Math.max(...light) + 0.05) / (Math.min(...light) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.className} ${element.textContent}`);
  }
  return poor;
})()
"""
"""Texts that stand out less from what is behind them than WCAG 2.2 §1.4.3 (AA) asks for."""


@pytest.fixture(scope="module")
def ports() -> list[int]:
    return free_ports(3)


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, certificate: Issued, ports: list[int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("proxy")
    status, metrics, closed = ports
    with Server(echo) as backend:
        toml = CONFIG.format(
            status=status,
            metrics=metrics,
            closed=closed,
            certificate=certificate,
            backend=backend,
            directory=directory,
        )
        with Proxy.start(directory, toml) as proxy:
            proxy.wait_for_port(status, metrics)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                talk(proxy, authority, version)
            address = f"http://127.0.0.1:{status}/status.json"
            proxy.wait_until(lambda: json.loads(get(address)[1])["report"]["summary"], "no shadow report", 30)
            yield proxy


def talk(proxy: Proxy, authority: Authority, version: ssl.TLSVersion) -> None:
    """One session."""
    context = trusting(authority.path)
    context.minimum_version = context.maximum_version = version
    before = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", proxy.ports()[0]), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="mx.example.org") as wrapped:
            wrapped.sendall(b"hello")
            assert wrapped.recv(5) == b"hello"
    proxy.wait_for_note("session_ended", after=before)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def url(proxy: Proxy, ports: list[int]) -> str:
    return f"http://127.0.0.1:{ports[0]}"


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the proxy's own address
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_is_legible_and_complains_of_nothing(
    browser: Browser, url: str, size: str, tmp_path: Path
) -> None:
    width, dark = SIZES[size]
    browser.open(f"{url}/", width=width, dark=dark)
    picture = tmp_path / f"{size}.png"
    browser.screenshot(picture)
    assert picture.stat().st_size > 10_000
    assert browser.run("document.documentElement.scrollWidth") == width
    assert browser.run(CONTRAST) == []
    assert browser.complaints() == []
    assert browser.requested() == [f"{url}/"]


def test_dark_and_light_differ(browser: Browser, url: str) -> None:
    grounds = []
    for dark in (False, True):
        browser.open(f"{url}/", dark=dark)
        grounds.append(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert len(set(grounds)) == 2


def test_the_page_tells_what_the_proxy_did(browser: Browser, url: str, proxy: Proxy) -> None:
    browser.open(f"{url}/")
    text = browser.run("document.body.innerText")
    assert f"127.0.0.1:{proxy.ports()[0]}" in text
    for words in (
        "TLSv1.3",
        "TLSv1.2",
        "10.3.0.0/16",
        "scanners",
        "mx.example.org",
        "How sessions ended",
        "Who would break",
    ):
        assert words in text


def test_the_page_refreshes_itself_where_it_stands(
    browser: Browser, url: str, proxy: Proxy, authority: Authority
) -> None:
    browser.open(f"{url}/", height=400)
    browser.run("window.mark = 1; scrollTo(0, 300)")
    before = browser.run("document.querySelector('.tiles strong + span').textContent")
    talk(proxy, authority, ssl.TLSVersion.TLSv1_3)
    changed = """
        new Promise((resolve) => {
          const look = () => document.querySelector('.tiles strong + span').textContent;
          new MutationObserver(() => look() !== BEFORE && resolve(true)).observe(document.body,
            { childList: true, subtree: true });
        })
    """
    assert browser.run(changed.replace("BEFORE", json.dumps(before)))
    assert browser.run("[window.mark, scrollY]") == [1, 300]
    assert browser.complaints() == []


def test_the_status_is_json_too(url: str, proxy: Proxy) -> None:
    status, body = get(f"{url}/status.json")
    values: dict[str, Any] = json.loads(body)
    assert status == 200
    assert values["report"]["summary"][0]["refused"] >= 1
    del values["report"]
    [process] = service_from_values(values).processes
    assert process.pid == proxy.pid
    assert {each.kind for each in process.listens} == {"stream", "esmtp"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/readyz?backend=echo", 200),
        ("/readyz?backend=no", 503),
        ("/x", 404),
    ],
)
def test_probes_are_answered(url: str, path: str, expected: int) -> None:
    assert get(url + path)[0] == expected


def test_metrics_are_served_beside_it(url: str, ports: list[int]) -> None:
    status, body = get(f"http://127.0.0.1:{ports[1]}/metrics")
    assert status == 200
    assert "tlsproxy_handshakes_by_server_name_total" in body
    assert 'tlsproxy_backend_connect_seconds_count{backend="echo"' in body
