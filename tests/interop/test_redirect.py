"""``docs/deployment-box.md`` on machines made of network namespaces: its commands, and the rules in ``etc/nftables``.

A client, the machine that tlsproxy runs on, and a box behind it that keeps its address.
"""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.certificates import Authority
from tests.support.namespaces import Namespace
from tests.support.programs import require
from tests.support.proxy import Proxy

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/deployment-box.md").read_text()

CLIENT, CLIENT6 = "10.20.0.9", "2001:db8:1::9"
MACHINE, MACHINE6 = "10.20.0.2", "2001:db8:1::2"
BOX, UNTRUSTED = "10.20.0.5", "10.20.0.77"
"""The box, and the address that tlsproxy comes from, as the page has them."""

WEB = 80
"""A port that nothing is said about."""

RULES = {"nftables": "nft", "iptables": "iptables"}


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def commands(text: str, *programs: str) -> list[list[str]]:
    """The commands of ``programs`` in a part of the page, in their order."""
    found = re.findall(rf"^(?:{'|'.join(programs)}) .*", text, re.MULTILINE)
    assert found
    return [command.partition("  #")[0].split() for command in found]


def carry_out(machine: Namespace, lines: list[list[str]]) -> None:
    packages = {"nft": "nftables", "iptables": "iptables", "sysctl": "procps", "ip": "iproute2"}
    packages |= {"ip6tables": "iptables", "arping": "iputils-arping"}
    ip = require("ip", package="iproute2")
    for program, *arguments in lines:
        command = [ip, "netns", "exec", machine.name, require(program, package=packages[program]), *arguments]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
        assert result.returncode == 0, f"{command}: {result.stderr}"


def sample(authority: Authority) -> str:
    """The page's configuration."""
    certificate = authority.issue("mx.example.org", key_type="rsa")
    [toml] = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    [line] = re.findall(r"^tls_certificate = .*$", toml, re.MULTILINE)
    files = f'tls_certificate = "{certificate.chain_path}"\ntls_key = "{certificate.key_path}"'
    return toml.replace(line, files)


@frozen
class Site:
    client: Namespace
    machine: Namespace
    proxy: Proxy
    smtp: socket.socket
    """Where the box takes mail."""
    web: socket.socket

    def arrives_through_the_proxy(self, address: str, seen: int) -> tuple[str, str]:
        """Connect to port 25 of ``address``: who the box sees, and who the proxy does."""
        with self.client.connect(address, 25) as connection:
            server, (peer, *_) = self.smtp.accept()
            with server:
                server.sendall(b"220 box\r\n")
                assert connection.recv(100) == b"220 box\r\n"
                own, port, *_ = connection.getsockname()
        client = f"[{own}]:{port}" if ":" in own else f"{own}:{port}"
        self.proxy.wait_for_note("session_ended", after=seen, client=client)
        return peer, own


def started(stack: ExitStack, machine: Namespace, toml: str, directory: Path) -> Proxy:
    proxy = stack.enter_context(machine.inside(lambda: Proxy.start(directory, toml)))
    proxy.wait_until(lambda: len(proxy.ports()) == 2, "not every listen is open")
    return proxy


@pytest.fixture(scope="module", params=RULES.values(), ids=RULES)
def gateway(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with ExitStack() as stack:
        client, machine, box = (stack.enter_context(Namespace(name)) for name in ("client", "gateway", "box"))
        client.connect_to(machine, "eth0", "eth0")
        machine.connect_to(box, "eth1", "eth0")
        client.ip(f"addr add {CLIENT}/24 dev eth0")
        machine.ip(f"addr add {MACHINE}/24 dev eth0", f"addr add {UNTRUSTED}/24 dev eth0")
        box.ip(f"addr add {BOX}/24 dev eth0")
        part = section("The box keeps its address")
        carry_out(machine, commands(part, "sysctl", "ip"))
        carry_out(machine, commands(part, request.param))
        sockets = [stack.enter_context(box.listen(BOX, port)) for port in (25, WEB)]
        for each in sockets:
            each.settimeout(10)
        proxy = started(stack, machine, sample(authority), tmp_path_factory.mktemp("gateway"))
        yield Site(client, machine, proxy, *sockets)


def test_mail_for_the_box_s_address_goes_through_the_proxy(gateway: Site) -> None:
    """Which comes from the address that the configuration says, and sees the client's own."""
    seen = len(gateway.proxy.notes)
    assert gateway.arrives_through_the_proxy(BOX, seen) == (UNTRUSTED, CLIENT)


def test_tls_from_the_first_byte_is_redirected_too(gateway: Site, authority: Authority) -> None:
    seen = len(gateway.proxy.notes)
    with gateway.client.connect(BOX, 465) as connection:
        connection.sendall(b"not a TLS record")
        gateway.proxy.wait_for_note("tls_refused", after=seen)


def test_the_box_s_other_ports_stay_as_they_were(gateway: Site) -> None:
    with gateway.client.connect(BOX, WEB) as connection:
        server, (peer, _) = gateway.web.accept()
        with server:
            assert peer == CLIENT
            server.sendall(b"hello")
            assert connection.recv(100) == b"hello"


def test_while_the_proxy_is_stopped_nobody_gets_around_it(gateway: Site) -> None:
    """Runs last: the proxy doesn't come back."""
    gateway.proxy.stop()
    for port in (25, 465):
        with pytest.raises(ConnectionRefusedError):
            gateway.client.connect(BOX, port)
    gateway.smtp.settimeout(0)
    with pytest.raises(BlockingIOError):
        gateway.smtp.accept()


@pytest.fixture(scope="module", params=RULES.values(), ids=RULES)
def same_machine(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    part = section("On the box itself")
    with ExitStack() as stack:
        client, machine = (stack.enter_context(Namespace(name)) for name in ("client", "machine"))
        client.connect_to(machine, "eth0", "eth0")
        client.ip(f"addr add {CLIENT}/24 dev eth0", f"addr add {CLIENT6}/64 dev eth0 nodad")
        machine.ip(f"addr add {MACHINE}/24 dev eth0", f"addr add {MACHINE6}/64 dev eth0 nodad")
        rules = commands(part, request.param)
        carry_out(machine, [*commands(part, "ip"), *rules])
        if request.param == "iptables":  # "the same with ip6tables"
            carry_out(machine, [["ip6tables", *arguments] for _, *arguments in rules])
        smtp = stack.enter_context(
            machine.inside(
                lambda: socket.create_server(("::", 25), family=socket.AF_INET6, dualstack_ipv6=True)
            )
        )
        smtp.settimeout(10)
        toml = sample(authority)
        backend, source = re.findall(r"`(servers = .*?)` and `(source_address = .*?)`", part)[0]
        toml = re.sub(r"^servers = .*$", backend, toml, flags=re.MULTILINE)
        toml = re.sub(r"^source_address = \S+", source, toml, flags=re.MULTILINE)
        toml = toml.replace('"0.0.0.0:', '"[::]:')
        proxy = started(stack, machine, toml, tmp_path_factory.mktemp("machine"))
        yield Site(client, machine, proxy, smtp, smtp)


@pytest.mark.parametrize(("address", "client"), [(MACHINE, CLIENT), (MACHINE6, CLIENT6)])
def test_mail_from_outside_goes_through_the_proxy_to_its_own_machine(
    same_machine: Site, address: str, client: str
) -> None:
    seen = len(same_machine.proxy.notes)
    peer, own = same_machine.arrives_through_the_proxy(address, seen)
    assert (peer, own) == ("::ffff:10.255.255.77", client)


def test_programs_on_the_machine_reach_the_server_itself(same_machine: Site) -> None:
    seen = len(same_machine.proxy.notes)
    with same_machine.machine.connect("127.0.0.1", 25):
        server, (peer, *_) = same_machine.smtp.accept()
        server.close()
    assert peer == "::ffff:127.0.0.1"
    assert not [note for note in same_machine.proxy.notes[seen:] if note["event"] == "session_started"]


def test_neighbours_learn_that_an_address_has_moved() -> None:
    with Namespace("neighbour") as neighbour, Namespace("machine") as machine:
        neighbour.connect_to(machine, "eth0", "eth0")
        neighbour.ip(f"addr add {CLIENT}/24 dev eth0")
        neighbour.ip(f"neigh replace {BOX} lladdr 02:00:00:00:00:05 dev eth0 nud reachable")
        carry_out(machine, commands(section("The address moves"), "ip", "arping"))
        ip = require("ip", package="iproute2")
        shown = subprocess.run(
            [ip, "-n", machine.name, "link", "show", "eth0"], capture_output=True, text=True
        )
        [mac] = re.findall(r"link/ether (\S+)", shown.stdout)
        known = subprocess.run(
            [ip, "-n", neighbour.name, "neigh", "show", BOX], capture_output=True, text=True
        )
        assert f"lladdr {mac} " in known.stdout
