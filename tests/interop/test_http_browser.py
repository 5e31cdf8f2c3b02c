"""A real browser loads a page with its pictures through the http listener."""

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.processes import run
from tests.support.programs import require
from tests.support.proxy import Proxy

pytestmark = pytest.mark.interop

PICTURES = 8

# One red pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)

PAGE = (
    "<!doctype html><title>loading</title>"
    + "".join(f'<img src="/picture-{number}.png">' for number in range(PICTURES))
    + "<script>addEventListener('load', () => { document.title ="
    " [...document.images].filter(each => each.naturalWidth == 1).length + ' pictures'; })</script>"
).encode()

QUIET = [
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-dev-shm-usage",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
"""Nothing but the page is fetched."""


class Web(http.server.ThreadingHTTPServer):
    """Serves the page and its pictures, and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.paths: list[str] = []
        self.schemes: set[str | None] = set()


class _Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.schemes.add(self.headers["X-Forwarded-Proto"])
        body, media_type = (PNG, "image/png") if self.path.endswith(".png") else (PAGE, "text/html")
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """What was asked for is in ``paths``."""


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_page_with_pictures_is_loaded_whole(tmp_path: Path, authority: Authority, web: Web) -> None:
    chromium = require("chromium", package="chromium")
    issued = authority.issue("localhost")
    toml = f"""
        tls_certificate = "{issued.chain_path}"
        tls_key = "{issued.key_path}"
        [backend.web]
        servers = ["127.0.0.1:{web.server_port}"]
        [[http_listener]]
        backend = "web"
          [[http_listener.listen]]
          address = "127.0.0.1:0"
    """
    with Proxy.start(tmp_path, toml) as proxy:
        url = f"https://localhost:{proxy.ports()[0]}/"
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        # The test's authority isn't in the browser's store; certificates are proven elsewhere.
        options = [
            *QUIET,
            profile,
            "--ignore-certificate-errors",
            "--virtual-time-budget=10000",
            "--dump-dom",
        ]
        status, output = run([chromium, *options, url], timeout=90)
        assert status == 0, output
        assert f"<title>{PICTURES} pictures</title>" in output
        served = [note for note in proxy.notes if note["event"] == "request_served" and note["status"] == 200]
    pictures = {f"/picture-{number}.png" for number in range(PICTURES)}
    assert pictures <= set(web.paths)
    assert pictures <= {note["path"] for note in served}
    assert web.schemes == {"https"}
