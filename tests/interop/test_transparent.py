"""``identity = "transparent"`` on machines made of network namespaces: the server sees each client's own address.

Three of them in a row: a client, the proxy, a server whose way to the client leads over the proxy. Another server is on the
proxy's machine. The commands are those of ``docs/transparent.md``.
"""

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.namespaces import Namespace
from tests.support.processes import run
from tests.support.programs import require, require_root
from tests.support.proxy import Proxy

ROOT = Path(__file__).parents[2]

CLIENT, PROXY_OUTSIDE = "192.0.2.10", "192.0.2.1"
PROXY_INSIDE, SERVER = "198.51.100.1", "198.51.100.2"
CLIENT6, PROXY_OUTSIDE6 = "2001:db8:1::10", "2001:db8:1::1"
PROXY_INSIDE6, SERVER6 = "2001:db8:2::1", "2001:db8:2::2"

COMMAND = re.compile(r"^ip .*", re.MULTILINE)

CONFIGURATION = f"""
tls_security_level = "none"
[backend.remote]
servers = ["{SERVER}:25"]
identity = "transparent"
[backend.remote6]
servers = ["[{SERVER6}]:25"]
identity = "transparent"
[backend.local]
servers = ["localhost:2525"]
identity = "transparent"
[backend.local6]
servers = ["[::1]:2525"]
identity = "transparent"
[backend.plain]
servers = ["{SERVER}:25"]
"""

BACKENDS = ("remote", "remote6", "local", "local6", "plain")
PORTS = {backend: 25 + number for number, backend in enumerate(BACKENDS)}
"""Of the proxy, on both of its addresses."""


def listener(backend: str) -> str:
    addresses = [f"{PROXY_OUTSIDE}:{PORTS[backend]}", f"[{PROXY_OUTSIDE6}]:{PORTS[backend]}"]
    listens = "".join(f'[[esmtp_listener.listen]]\naddress = "{address}"\n' for address in addresses)
    return f'[[esmtp_listener]]\nbackend = "{backend}"\n{listens}'


@frozen
class Machines:
    """The three, the proxy that runs on the second, and the servers' sockets by the backend that leads to them."""

    client: Namespace
    proxy: Proxy
    servers: dict[str, socket.socket]

    def accept(self, backend: str, host: str) -> tuple[socket.socket, socket.socket]:
        """A client's connection to the proxy at ``host``, and the server's end of the one that it leads to."""
        client = self.client.connect(host, PORTS[backend])
        try:
            server, _ = self.servers[backend].accept()
        except TimeoutError:
            client.close()
            raise
        server.settimeout(10)
        return client, server


def cabled(client: Namespace, proxy: Namespace, server: Namespace) -> None:
    """Addresses and routes, those in the document among them."""
    client.connect_to(proxy, "eth0", "eth0")
    proxy.connect_to(server, "eth1", "eth0")
    client.ip(f"addr add {CLIENT}/24 dev eth0", f"addr add {CLIENT6}/64 dev eth0 nodad")
    proxy.ip(f"addr add {PROXY_OUTSIDE}/24 dev eth0", f"addr add {PROXY_OUTSIDE6}/64 dev eth0 nodad")
    proxy.ip(f"addr add {PROXY_INSIDE}/24 dev eth1", f"addr add {PROXY_INSIDE6}/64 dev eth1 nodad")
    server.ip(f"addr add {SERVER}/24 dev eth0", f"addr add {SERVER6}/64 dev eth0 nodad")
    server.ip(f"route add default via {PROXY_INSIDE}", f"-6 route add default via {PROXY_INSIDE6}")
    documented = COMMAND.findall((ROOT / "docs/transparent.md").read_text())
    assert len(documented) == 6
    proxy.ip(*documented)
    proxy.inside(filter_by_reverse_path)


def filter_by_reverse_path() -> None:
    """As strictly as a distribution may (Linux, ``ip-sysctl.rst``): in the namespace of whoever calls."""
    for interface in ("all", "eth0", "eth1"):
        Path(f"/proc/sys/net/ipv4/conf/{interface}/rp_filter").write_text("1")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with ExitStack() as stack:
        client, proxy, server = (
            stack.enter_context(Namespace(name)) for name in ("client", "proxy", "server")
        )
        cabled(client, proxy, server)
        listening = {
            "remote": server.listen(SERVER, 25),
            "remote6": server.listen(SERVER6, 25),
            "local": proxy.listen("127.0.0.1", 2525),
            "local6": proxy.listen("::1", 2525),
        }
        for each in listening.values():
            stack.enter_context(each)
            each.settimeout(10)
        listening["plain"] = listening["remote"]
        directory = tmp_path_factory.mktemp("transparent")
        toml = CONFIGURATION + "".join(map(listener, BACKENDS))
        running = stack.enter_context(proxy.inside(lambda: Proxy.start(directory, toml)))
        yield Machines(client, running, listening)


@pytest.mark.parametrize(
    ("backend", "host", "address"),
    [
        ("remote", PROXY_OUTSIDE, CLIENT),
        ("remote6", PROXY_OUTSIDE6, CLIENT6),
        ("local", PROXY_OUTSIDE, CLIENT),
        ("local6", PROXY_OUTSIDE6, CLIENT6),
    ],
)
def test_the_server_sees_the_client_s_address(
    machines: Machines, backend: str, host: str, address: str
) -> None:
    client, server = machines.accept(backend, host)
    with client, server:
        assert server.getpeername()[0] == address
        server.sendall(b"220 hello\r\n")
        assert client.recv(100) == b"220 hello\r\n"
        client.sendall(b"QUIT\r\n")
        assert server.recv(100) == b"QUIT\r\n"
        server.sendall(b"221 bye\r\n")
        assert client.recv(100) == b"221 bye\r\n"
        assert client.recv(100) == server.recv(100) == b""


def test_many_connections_of_one_client_stand_side_by_side(machines: Machines) -> None:
    pairs = [machines.accept("remote", PROXY_OUTSIDE) for _ in range(20)]
    assert {server.getpeername()[0] for _, server in pairs} == {CLIENT}
    assert len({server.getpeername()[1] for _, server in pairs}) == 20
    for client, server in pairs:
        client.close()
        server.close()


def test_otherwise_it_sees_the_proxy_s(machines: Machines) -> None:
    client, server = machines.accept("plain", PROXY_OUTSIDE)
    with client, server:
        assert server.getpeername()[0] == PROXY_INSIDE


@pytest.mark.parametrize(
    ("backend", "host", "detail"),
    [
        ("remote", PROXY_OUTSIDE6, f"an IPv6 client can't come to {SERVER} from its own address"),
        ("remote6", PROXY_OUTSIDE, f"an IPv4 client can't come to {SERVER6} from its own address"),
    ],
)
def test_a_client_of_the_other_family_is_told_to_try_later(
    machines: Machines, backend: str, host: str, detail: str
) -> None:
    seen = len(machines.proxy.notes)
    with machines.client.connect(host, PORTS[backend]) as client:
        assert client.recv(100).startswith(b"421 4.3.2 ")
        assert client.recv(100) == b""
    machines.proxy.wait_for_note("backend_failed", after=seen, backend=backend, detail=detail)


def test_without_the_privilege_the_check_names_the_backend(tmp_path: Path) -> None:
    require_root("giving up a privilege")
    setpriv = require("setpriv", package="util-linux")
    config = tmp_path / "tlsproxy.toml"
    config.write_text(CONFIGURATION + "".join(map(listener, BACKENDS)))
    command = [
        sys.executable,
        "-c",
        "from tlsproxy.cli.main import main; raise SystemExit(main())",
        "check",
        config,
    ]
    status, output = run([setpriv, "--bounding-set=-net_admin,-net_raw", *command])
    assert status == 1
    assert output.count('identity: "transparent" can\'t be had: it needs CAP_NET_ADMIN or CAP_NET_RAW') == 4
    assert run(command)[0] == 0
