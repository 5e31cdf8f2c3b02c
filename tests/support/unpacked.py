"""Mail servers of other Debian packages than the one that is installed: Debian has one of them on a machine at a time.

The others are unpacked (``dpkg-deb -x``) into a directory, which an environment variable names. They run as users that
needn't exist: libnss_wrapper tells them so.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.support.programs import unavailable

ROOT_VARIABLE = "TLSPROXY_UNPACKED"
"""Environment variable with the directory that the packages are unpacked in."""

NOBODY = 65534
"""User and group that the servers run as: Debian's ``nobody`` and ``nogroup``."""


def unpacked(path: str, *, package: str) -> Path:
    """The program that the Debian ``package`` has at ``path`` (``usr/sbin/exim4``), installed or unpacked."""
    roots = [os.environ[ROOT_VARIABLE]] if ROOT_VARIABLE in os.environ else []
    found = next((Path(root, path) for root in [*roots, "/"] if Path(root, path).exists()), None)
    if found is None:
        unavailable(
            f"{path} is neither installed nor unpacked in ${ROOT_VARIABLE} (Debian package {package})"
        )
    return found


def copy_program(program: Path, directory: Path) -> Path:
    """A copy in ``directory`` that isn't set-user-ID: it may be told of users, and needs a root that starts it."""
    copy = directory / program.name
    shutil.copyfile(program, copy)
    copy.chmod(0o755)
    return copy


def own_names(directory: Path, *users: str, hostname: str) -> Mapping[str, str]:
    """Environment of a program for which ``users`` exist, all of them nobody, the machine is called ``hostname``, and no
    other host names are known. Files for that are written to ``directory``.
    """
    if not list(Path("/usr/lib").glob("*/libnss_wrapper.so")):
        unavailable("libnss_wrapper.so isn't installed (Debian package libnss-wrapper)")
    passwd = [
        "root:x:0:0:root:/:/bin/sh",
        *(f"{user}:x:{NOBODY}:{NOBODY}:{user}:/:/bin/false" for user in users),
    ]
    group = ["root:x:0:", *(f"{user}:x:{NOBODY}:" for user in users)]
    variables = {"LD_PRELOAD": "libnss_wrapper.so", "NSS_WRAPPER_HOSTNAME": hostname}
    for name, lines in {"passwd": passwd, "group": group, "hosts": [f"127.0.0.1 {hostname}"]}.items():
        path = directory / name
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(0o644)
        variables[f"NSS_WRAPPER_{name.upper()}"] = str(path)
    return variables


def make_for_nobody(path: Path) -> Path:
    """Make a directory that the servers may write to."""
    path.mkdir(mode=0o755)
    os.chown(path, NOBODY, NOBODY)
    return path
