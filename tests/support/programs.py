"""Finding the programs that interoperability tests run."""

import os
import shutil
from typing import NoReturn

import pytest

REQUIRE_INTEROP = "TLSPROXY_REQUIRE_INTEROP"
"""Set to 1 where every such program has to be there (CI): a missing one fails instead of skipping."""

_SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Daemons live here, and an ordinary user's PATH doesn't say so."""


def require(program: str, *, package: str) -> str:
    """The path of ``program``; without it the test is skipped, naming the Debian ``package`` that has it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_DIRECTORIES])
    found = shutil.which(program, path=path)
    if found is None:
        unavailable(f"{program} isn't installed (Debian package {package})")
    return found


def require_root(why: str) -> None:
    """Skip the test unless it runs as root."""
    if os.geteuid() != 0:
        unavailable(f"needs root: {why}")


def unavailable(reason: str) -> NoReturn:
    """End the test: skipped, or failed where interoperability tests are required."""
    if os.environ.get(REQUIRE_INTEROP) == "1":
        pytest.fail(f"{reason}, and {REQUIRE_INTEROP}=1", pytrace=False)
    pytest.skip(reason)
