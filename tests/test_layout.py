"""The house is in order: imports run one way, and tests lie where one looks for them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tlsproxy"
TESTS = ROOT / "tests"

MAY_IMPORT = {
    "errors": set(),
    "notes": set(),
    "policy": {"errors", "notes"},
    "fronts": {"errors", "notes", "policy", "identity"},
    "identity": {"errors", "notes", "policy"},
    "config": {"errors", "notes", "policy", "fronts", "identity"},
    "tls": {"errors", "notes", "policy", "fronts", "identity", "config"},
    "net": {"errors", "notes", "policy", "fronts", "identity", "config", "tls"},
    "ops": {"errors", "notes", ""},
    "service": {"errors", "notes", "policy", "fronts", "identity", "config", "tls", "net", "ops", ""},
    "cli": {"errors", "notes", "policy", "fronts", "identity", "config", "tls", "net", "ops", "service", ""},
    "": set(),
}
"""For each part of ``tlsproxy`` the other parts that it may import from; ``""`` is the package itself, for its version."""

PURE = ("errors", "notes", "policy", "fronts", "identity", "config")
"""Neither network nor clock: time and bytes are passed in."""

IMPURE_MODULES = {
    "twisted",
    "OpenSSL",
    "socket",
    "time",
    "asyncio",
    "select",
    "selectors",
    "threading",
    "subprocess",
}

OF_LIBRARIES = {TESTS / "tls/test_openssl.py"}
"""Tests of what a library does, where a whole package counts on it."""

MIRRORED = ("policy", "fronts", "identity", "config", "tls", "ops")
"""Every module of these that does something has a test module of its own."""


def modules(directory: Path = PACKAGE) -> list[Path]:
    return sorted(directory.rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part(path: Path) -> str:
    """``policy`` for ``tlsproxy/policy/handshakes.py``, ``errors`` for ``tlsproxy/errors.py``."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def does_something(path: Path) -> bool:
    """Values without a method can't be wrong by themselves."""
    return any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> Iterator[str]:
    """Dotted names of the modules that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_parts(path: Path) -> set[str]:
    parts = {f"{dotted}.".split(".")[1] for dotted in imported(path) if dotted.split(".")[0] == "tlsproxy"}
    return {each if each in MAY_IMPORT else "" for each in parts} - {part(path)}


@pytest.mark.parametrize("path", modules(), ids=name)
def test_imports_run_one_way(path: Path) -> None:
    assert imported_parts(path) <= MAY_IMPORT[part(path)]


@pytest.mark.parametrize("path", [path for path in modules() if part(path) in PURE], ids=name)
def test_rules_know_neither_network_nor_clock(path: Path) -> None:
    assert not {dotted.split(".")[0] for dotted in imported(path)} & IMPURE_MODULES


@pytest.mark.parametrize("path", [path for path in modules() if part(path) != "tls"], ids=name)
def test_openssl_lives_in_tls_alone(path: Path) -> None:
    assert "OpenSSL" not in {dotted.split(".")[0] for dotted in imported(path)}


def test_twisted_plugins_are_twisted_s_package() -> None:
    """With an ``__init__.py`` of ours, the plugin would be found and Twisted's own would not."""
    assert [name(path) for path in sorted((ROOT / "twisted").rglob("*.py"))] == [
        "twisted/plugins/tlsproxy_plugin.py",
        "twisted/plugins/tlsproxy_reactor.py",
    ]


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in modules()
        if part(path) in MIRRORED and path.name != "__init__.py" and does_something(path)
    ],
    ids=name,
)
def test_every_module_has_its_test(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    tests = TESTS / relative.parent
    assert (tests / f"test_{relative.name}").exists() or [*tests.glob(f"test_{relative.stem}_*.py")]


@pytest.mark.parametrize(
    "path",
    [
        path
        for directory in sorted(MAY_IMPORT)
        for path in sorted((TESTS / directory).rglob("test_*.py"))
        if directory and path not in OF_LIBRARIES
    ],
    ids=name,
)
def test_every_test_has_its_module(path: Path) -> None:
    """``test_esmtp_auth.py`` is one of several for ``esmtp``, by subject."""
    relative = path.relative_to(TESTS)
    words = relative.stem.removeprefix("test_").split("_")
    names = [PACKAGE / relative.parent / "_".join(words[:count]) for count in range(len(words), 0, -1)]
    assert any(each.with_suffix(".py").exists() or each.is_dir() for each in names)
