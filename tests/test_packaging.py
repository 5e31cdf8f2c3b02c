"""What ``pip install`` makes of the package: a command, a plugin for twistd, typed modules."""

import configparser
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import tlsproxy

ROOT = Path(__file__).parents[1]

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def test_the_command_exists() -> None:
    [script] = SETUP["options.entry_points"]["console_scripts"].split("\n")[1:]
    name, _, value = script.partition(" = ")
    assert name == "tlsproxy"
    assert callable(EntryPoint(name, value, "console_scripts").load())


def test_twistd_finds_the_plugin_from_any_directory(tmp_path: Path) -> None:
    """With the package's root on the path, as both kinds of install have it; a cache of plugins is not needed."""
    program = (
        "from twisted.application.service import IServiceMaker\n"
        "from twisted.plugin import getPlugins\n"
        "[maker] = [each for each in getPlugins(IServiceMaker) if each.tapname == 'tlsproxy']\n"
        "print(maker.module, maker.options().__module__)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("tlsproxy.service.maker tlsproxy.service.maker\n", "")


def test_an_editable_install_is_a_path() -> None:
    """Without ``package_dir``, setuptools makes it an import hook, and Twisted looks for plugins on paths alone."""
    assert SETUP["options"]["package_dir"].split() == ["=", "."]


def test_every_package_is_one() -> None:
    """``find_namespace`` is for ``twisted.plugins``; a directory of ours without ``__init__.py`` would be a slip."""
    assert SETUP["options.packages.find"]["include"].split() == ["tlsproxy*", "twisted.plugins"]
    for module in (ROOT / "tlsproxy").rglob("*.py"):
        assert (module.parent / "__init__.py").exists(), module


def test_annotations_are_for_users_too() -> None:
    assert (ROOT / "tlsproxy/py.typed").exists()
    assert "py.typed" in SETUP["options.package_data"]["tlsproxy"].split()


def test_what_is_no_module_is_installed_with_the_modules() -> None:
    package = ROOT / "tlsproxy"
    others = {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert set(SETUP["options.package_data"]["tlsproxy"].split()) == others


def test_the_version_is_that_of_the_package() -> None:
    assert SETUP["metadata"]["version"] == "attr: tlsproxy.__version__"
    assert tlsproxy.__version__.count(".") == 2


def test_every_manual_page_is_installed() -> None:
    files = [line for lines in SETUP["options.data_files"].values() for line in lines.split()]
    assert sorted(files) == sorted(f"man/{path.name}" for path in (ROOT / "man").iterdir())
