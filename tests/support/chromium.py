"""Chromium without a window, driven over its debugging protocol: how a page looks, what is in it, what it complains of."""

import base64
import itertools
import json
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

from tests.support.processes import Program
from tests.support.programs import require

QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--remote-debugging-port=0", "--remote-allow-origins=*"),
]
"""Nothing but what a test asks for is fetched."""

TIMEOUT = 30.0
"""Seconds for one command, on a busy machine."""


class Browser:
    """A browser with one page."""

    def __init__(self, directory: Path) -> None:
        profile = f"--user-data-dir={directory / 'profile'}"
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        with ExitStack() as stack:
            program = Program([require("chromium", package="chromium"), *QUIET, profile])
            stack.callback(program.stop)
            self._socket = stack.enter_context(connect(_new_page(program), max_size=None))
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Carry out a command of the protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=TIMEOUT))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._events.append(message)

    def wait_for(self, method: str) -> dict[str, Any]:
        """Wait for an event of the protocol, unless it has come."""
        while True:
            for index, event in enumerate(self._events):
                if event.get("method") == method:
                    found: dict[str, Any] = self._events.pop(index)["params"]
                    return found
            self._events.append(json.loads(self._socket.recv(timeout=TIMEOUT)))

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page, and wait until it is there."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript, in the page; that of a promise once it is there."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page, as PNG."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def complaints(self) -> list[str]:
        """What the console, the log and the page's scripts had to say since the page was opened."""
        self.run("0")  # whatever was on its way has come by then
        return [
            json.dumps(event["params"])
            for event in self._events
            if event.get("method")
            in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        ]

    def requested(self) -> list[str]:
        """Everything that the page fetched since it was opened."""
        return [
            event["params"]["request"]["url"]
            for event in self._events
            if event.get("method") == "Network.requestWillBeSent"
        ]


def _new_page(program: Program) -> str:
    """The address under which a page that was made for us is driven."""
    port = program.wait_for_output(r"DevTools listening on ws://[^/]*:(\d+)/", timeout=60)[1]
    new = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
    with urllib.request.urlopen(new, timeout=TIMEOUT) as answer:  # noqa: S310 - the browser's own address
        page: dict[str, str] = json.load(answer)
    return page["webSocketDebuggerUrl"]
