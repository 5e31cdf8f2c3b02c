"""``twistd tlsproxy``: what can't be started is told in plain words."""

import socket
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tlsproxy.service.maker import Options, TwistdService, makeService


def options(config: Path) -> Options:
    parsed = Options()
    parsed.parseOptions(["--config", str(config)])
    return parsed


def written(directory: Path, authority: Authority, address: str) -> Path:
    issued = authority.issue("localhost")
    config = directory / "tlsproxy.toml"
    config.write_text(
        f'tls_certificate = "{issued.chain_path}"\ntls_key = "{issued.key_path}"\n'
        '[backend.x]\nservers = ["127.0.0.1:9"]\n'
        f'[[stream_listener]]\nbackend = "x"\n[[stream_listener.listen]]\naddress = "{address}"\n'
    )
    return config


def test_the_configuration_is_that_of_the_debian_way_unless_named() -> None:
    assert Options()["config"] == "/etc/tlsproxy/tlsproxy.toml"


def test_every_problem_of_the_configuration_is_told(tmp_path: Path) -> None:
    config = tmp_path / "tlsproxy.toml"
    config.write_text('tls_protocol = ">=TLSv1.2"\nidle_timeout = true\n')
    with pytest.raises(SystemExit) as ended:
        makeService(options(config))
    message = str(ended.value)
    assert message.startswith("tlsproxy: the configuration can't be used\n")
    assert "error: tls_protocol: " in message
    assert "error: idle_timeout: must be a number" in message


def test_a_socket_that_cannot_be_had_is_told(tmp_path: Path, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        service = makeService(options(written(tmp_path, authority, address)))
        assert isinstance(service, TwistdService)
        with pytest.raises(SystemExit, match=rf"^tlsproxy: can't listen on {address}: the address is in use"):
            service.privilegedStartService()


def test_a_socket_that_systemd_did_not_hand_over_is_told(tmp_path: Path, authority: Authority) -> None:
    service = makeService(options(written(tmp_path, authority, "systemd:smtps")))
    with pytest.raises(SystemExit, match="systemd handed over no socket of that name"):
        service.privilegedStartService()
