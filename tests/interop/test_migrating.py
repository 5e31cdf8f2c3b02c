"""docs/migrating.md: the samples before are valid for the programs that they are for, those after do the same."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.interop.test_import_postfix import accepted
from tests.support.certificates import Authority, Issued
from tests.support.postfix import Postfix, Smtpd
from tests.support.processes import Program, free_ports, run
from tests.support.programs import require, unavailable
from tests.support.proxy import Proxy
from tests.test_migrating import samples

MAIL_MODULE = Path("/usr/lib/nginx/modules/ngx_mail_module.so")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", key_type="rsa")


@pytest.fixture(scope="module")
def files(certificate: Issued, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The files that the samples name, and those that are there."""
    combined = certificate.write_combined(tmp_path_factory.mktemp("files") / "mx-and-key.pem")
    return {
        "/etc/ssl/mx-and-key.pem": str(combined),
        "/etc/ssl/mx.pem": str(certificate.chain_path),
        "/etc/ssl/mx.key": str(certificate.key_path),
    }


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    """With a service for XCLIENT, and one for PROXY headers."""
    services = [
        Smtpd({"smtpd_authorized_xclient_hosts": "127.0.0.1"}),
        Smtpd({"smtpd_upstream_proxy_protocol": "haproxy"}),
    ]
    with Postfix(services) as postfix:
        yield postfix


def replaced(sample: str, replacements: Mapping[str, str]) -> str:
    for written, real in replacements.items():
        sample = sample.replace(written, real)
    return sample


def after(section: str, files: Mapping[str, str], server: int, directory: Path) -> Proxy:
    """tlsproxy, with the sample after; a listen stands where it is written."""
    sample = samples(section)[1]
    changes = {
        "127.0.0.1:2525": f"127.0.0.1:{server}",
        "0.0.0.0:25": "127.0.0.1:0",
        "0.0.0.0:465": "127.0.0.1:0",
    }
    proxy = Proxy.start(directory, replaced(sample, {**files, **changes}))
    proxy.wait_until(lambda: len(proxy.ports()) == sample.count("address ="), "not all listen")
    return proxy


def greets(port: int, *, wrapper: bool) -> bool:
    """Whether a client gets as far as EHLO under TLS."""
    swaks = require("swaks", package="swaks")
    arguments = [
        swaks,
        "--server",
        "127.0.0.1",
        "--port",
        str(port),
        "--helo",
        "client.example",
        "--quit-after",
        "EHLO",
    ]
    return run([*arguments, "--tls-on-connect" if wrapper else "--tls"])[0] == 0


def test_stunnel_and_tlsproxy_accept_the_same_versions(
    files: Mapping[str, str], postfix: Postfix, tmp_path: Path
) -> None:
    stunnel = require("stunnel4", package="stunnel4")
    starttls, implicit = free_ports(2)
    addresses = {
        "0.0.0.0:25": f"127.0.0.1:{starttls}",
        "0.0.0.0:465": f"127.0.0.1:{implicit}",
        "127.0.0.1:2525": f"127.0.0.1:{postfix.ports[0]}",
    }
    config = tmp_path / "stunnel.conf"
    config.write_text("foreground = yes\npid =\n" + replaced(samples("stunnel")[0], {**files, **addresses}))
    with Program([stunnel, config]) as program, after("stunnel", files, postfix.ports[0], tmp_path) as proxy:
        program.wait_for_port(starttls, implicit)
        theirs = [accepted(starttls, wrapper=False), accepted(implicit, wrapper=True)]
        ours = [accepted(proxy.ports()[0], wrapper=False), accepted(proxy.ports()[1], wrapper=True)]
        assert ours == theirs == [["TLSv1.2", "TLSv1.3"]] * 2
        assert greets(proxy.ports()[0], wrapper=False)
        assert greets(proxy.ports()[1], wrapper=True)


def test_nginx_takes_the_sample_and_tlsproxy_serves_the_other(
    files: Mapping[str, str], postfix: Postfix, tmp_path: Path
) -> None:
    nginx = require("nginx", package="nginx")
    if not MAIL_MODULE.exists():
        unavailable(f"{MAIL_MODULE} isn't there (Debian package libnginx-mod-mail)")
    starttls, implicit = free_ports(2)
    changes = {
        "modules/ngx_mail_module.so": str(MAIL_MODULE),
        "listen 25;": f"listen 127.0.0.1:{starttls};",
        "listen 465": f"listen 127.0.0.1:{implicit}",
    }
    config = tmp_path / "nginx.conf"
    own = f"daemon off;\nmaster_process off;\npid {tmp_path}/pid;\nerror_log stderr;\n"
    sample = replaced(samples("nginx (mail)")[0], {**files, **changes})
    load, _, rest = sample.partition("\n")
    config.write_text(f"{load}\n{own}{rest}")
    status, output = run([nginx, "-t", "-c", config, "-p", tmp_path])
    assert status == 0, output
    with (
        Program([nginx, "-c", config, "-p", tmp_path]) as program,
        after("nginx (mail)", files, postfix.ports[0], tmp_path) as proxy,
    ):
        program.wait_for_port(starttls, implicit)
        theirs = [accepted(starttls, wrapper=False), accepted(implicit, wrapper=True)]
        ours = [accepted(proxy.ports()[0], wrapper=False), accepted(proxy.ports()[1], wrapper=True)]
        assert ours == theirs == [["TLSv1.2", "TLSv1.3"]] * 2
        assert greets(proxy.ports()[0], wrapper=False)
        assert greets(proxy.ports()[1], wrapper=True)


def test_hitch_takes_the_sample_and_tlsproxy_serves_the_other(
    files: Mapping[str, str], postfix: Postfix, tmp_path: Path
) -> None:
    hitch = require("hitch", package="hitch")
    config = tmp_path / "hitch.conf"
    config.write_text(replaced(samples("hitch")[0], files))
    status, output = run([hitch, "--test", f"--config={config}"])
    assert status == 0, output
    with after("hitch", files, postfix.ports[1], tmp_path) as proxy:
        assert accepted(proxy.ports()[0], wrapper=True) == ["TLSv1.2", "TLSv1.3"]
        assert greets(proxy.ports()[0], wrapper=True)
