"""The additions to the units, in ``etc/systemd``: valid, and for the configuration that they come with."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.support.programs import require
from tests.test_systemd import INSTALLED, MOST_EXPOSED, ROOT, UNITS, run

ADDITIONS = ROOT / "etc/systemd"

UNIT_OF = {"hardening": "tlsproxy.service", "redirect": "tlsproxy.service", "freebind": "tlsproxy.socket"}


def installed(directory: Path, *names: str) -> list[str]:
    """The units, and these additions, where systemd looks for them; the units' paths."""
    for unit in UNITS.glob("*.*"):
        text = re.sub(rf"{INSTALLED}\w+", shutil.which("true") or "/bin/true", unit.read_text())
        (directory / unit.name).write_text(text)
    (directory / "nftables.service").write_text("[Service]\nExecStart=/bin/true\n")
    for name in names:
        place = directory / f"{UNIT_OF[name]}.d"
        place.mkdir(exist_ok=True)
        shutil.copy(ADDITIONS / f"{name}.conf", place)
    return sorted(str(directory / unit) for unit in ("tlsproxy.service", "tlsproxy.socket"))


def test_every_addition_says_where_it_belongs() -> None:
    assert {path.stem for path in ADDITIONS.iterdir()} == UNIT_OF.keys()
    for name, unit in UNIT_OF.items():
        assert f"/etc/systemd/system/{unit}.d/{name}.conf" in (ADDITIONS / f"{name}.conf").read_text()


@pytest.mark.interop
@pytest.mark.parametrize("names", [[name] for name in UNIT_OF] + [list(UNIT_OF)], ids="+".join)
def test_the_units_are_valid_with_them(tmp_path: Path, names: list[str]) -> None:
    analyze = require("systemd-analyze", package="systemd")
    result = run(analyze, "verify", *installed(tmp_path, *names))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.interop
def test_a_mistake_in_one_would_be_found(tmp_path: Path) -> None:
    analyze = require("systemd-analyze", package="systemd")
    units = installed(tmp_path, "hardening")
    addition = tmp_path / "tlsproxy.service.d/hardening.conf"
    addition.write_text(addition.read_text().replace("LimitCORE", "LimitCores"))
    assert "LimitCores" in run(analyze, "verify", *units).stderr


@pytest.mark.interop
def test_redirected_ports_need_no_privilege(tmp_path: Path) -> None:
    analyze = require("systemd-analyze", package="systemd")
    units = installed(tmp_path, "redirect")
    exposure = re.findall(
        r": ([\d.]+) ", run(analyze, "security", "--offline=true", "--no-pager", units[0]).stdout
    )[-1]
    assert float(exposure) < MOST_EXPOSED
    page = (ROOT / "docs/hardening.md").read_text()
    assert f"{exposure} of 10 |" in page


def test_the_ports_that_may_be_opened_are_those_of_the_sample_configuration() -> None:
    allowed = re.findall(
        r"^SocketBindAllow=(?:ipv4:)?tcp:(\S+)", (ADDITIONS / "hardening.conf").read_text(), re.MULTILINE
    )
    assert allowed == ["25", "465", "9465-9466"]
    sample = tomllib.loads((ROOT / "etc/tlsproxy.toml").read_text())
    listens = [listen["address"] for listener in sample["esmtp_listener"] for listen in listener["listen"]]
    assert [address.rpartition(":")[2] for address in listens] == allowed[:2]
    assert sample["metrics_listen"].endswith(":9465")
