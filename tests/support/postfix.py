"""A real Postfix for tests: an instance of its own, with as many smtpd services as wanted, on loopback ports.

It shares nothing with a Postfix of the machine but the programs: configuration, queue, data and log are in a directory
of its own, which goes when it stops. Mail for any address at :data:`DOMAIN` is kept in a Maildir; nothing is sent on.
"""

import os
import pwd
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from tests.support.mailboxes import DOMAIN, MailServer, content_of
from tests.support.processes import Program, ProgramError, free_ports, is_listening, run
from tests.support.programs import require, require_root

__all__ = ["DOMAIN", "Postfix", "Smtpd", "content_of"]

_OWNER, _POSTDROP, _MAILBOX_OWNER = "postfix", "postdrop", "nobody"

# Queue directories with owner, group and mode as Debian's postfix-files(5) has them.
_QUEUE_DIRECTORIES: Sequence[tuple[str, str | None, str | None, int]] = [
    *((name, _OWNER, None, 0o700) for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush")),
    *((name, _OWNER, None, 0o700) for name in ("hold", "incoming", "private", "saved", "trace")),
    ("maildrop", _OWNER, _POSTDROP, 0o1730),
    ("public", _OWNER, _POSTDROP, 0o2710),
    ("pid", None, None, 0o755),
]

# The services that smtpd leans on and that a delivery goes through; no pickup and no smtp: mail comes in by smtpd
# and leaves to the Maildir alone. Columns: service type private unprivileged chroot wakeup maxproc command.
_SERVICES = """\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
tlsmgr unix - - n 1000? 1 tlsmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
smtp unix - - n - - smtp
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
postlog unix-dgram n - n - 1 postlogd
"""


@frozen
class Smtpd:
    """One smtpd service, with ``main.cf`` parameters of its own."""

    options: Mapping[str, str] = field(factory=dict)
    """Parameter and value, as ``postconf(5)`` has them. A value is one line."""

    def master_entry(self, port: int) -> str:
        lines = [f"127.0.0.1:{port} inet n - n - - smtpd"]
        lines += [f"  -o {{ {name} = {value} }}" for name, value in self.options.items()]
        return "\n".join(lines) + "\n"


@define
class Postfix(MailServer):
    """A running Postfix.

    :param services: What smtpd services to have, each on a port of its own.
    :param options: ``main.cf`` parameters for all of them, over the defaults for tests.
    """

    services: Sequence[Smtpd] = (Smtpd(),)
    options: Mapping[str, str] = field(factory=dict)
    ports: list[int] = field(init=False)
    """The loopback port of each service, in their order."""
    directory: Path = field(init=False)
    _master: Program = field(init=False)

    @property
    def port(self) -> int:
        """The first service's port."""
        return self.ports[0]

    @property
    def log(self) -> str:
        path = self.directory / "log" / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def inbox(self) -> Path:
        return self.directory / "mail" / "inbox" / "new"

    @property
    def daemon(self) -> Program:
        return self._master

    def start(self) -> None:
        require("postfix", package="postfix")
        require_root("Postfix's master(8) starts daemons as other users")
        self.directory = Path(tempfile.mkdtemp(prefix="postfix-"))
        try:
            self._write_files()
            self._start_master()
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    def _write_files(self) -> None:
        # The daemons run as other users, so each directory on the way is open, and pytest's own tmp_path isn't.
        self.directory.chmod(0o755)
        for name in ("etc", "log", "queue"):
            (self.directory / name).mkdir(mode=0o755)
        _make_owned(self.directory / "data", _OWNER, None, 0o700)
        _make_owned(self.directory / "mail", _MAILBOX_OWNER, None, 0o700)
        for name, owner, group, mode in _QUEUE_DIRECTORIES:
            _make_owned(self.directory / "queue" / name, owner, group, mode)
        self.ports = free_ports(len(self.services))
        entries = [
            service.master_entry(port) for service, port in zip(self.services, self.ports, strict=True)
        ]
        parameters = {**self._defaults(), **self.options}
        etc = self.directory / "etc"
        write_settled(etc / "main.cf", "".join(f"{name} = {value}\n" for name, value in parameters.items()))
        write_settled(etc / "master.cf", _SERVICES + "".join(entries))

    def _defaults(self) -> dict[str, str]:
        mailbox_owner = pwd.getpwnam(_MAILBOX_OWNER)
        return {
            "compatibility_level": "3.6",
            "queue_directory": str(self.directory / "queue"),
            "data_directory": str(self.directory / "data"),
            "maillog_file": str(self.directory / "log" / "maillog"),
            "maillog_file_prefixes": str(self.directory),
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "myhostname": f"mx.{DOMAIN}",
            "mydestination": "",
            "mynetworks": "",
            "alias_maps": "",
            "alias_database": "",
            "local_header_rewrite_clients": "",  # a message is delivered as it was sent
            "smtpd_peername_lookup": "no",  # no DNS query leaves the machine
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "notify_classes": "",
            "default_transport": "error:nothing is sent on",
            "relay_transport": "error:nothing is sent on",
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_base": str(self.directory / "mail"),
            "virtual_mailbox_maps": "static:inbox/",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{mailbox_owner.pw_uid}",
            "virtual_gid_maps": f"static:{mailbox_owner.pw_gid}",
        }

    def _start_master(self) -> None:
        status, daemons = run([require("postconf", package="postfix"), "-dh", "daemon_directory"])
        assert status == 0, daemons
        # What postfix(1) sets for its children, so that they can log before they have read main.cf.
        env = {
            "POSTLOG_SERVICE": str(self.directory / "queue" / "public" / "postlog"),
            "POSTLOG_HOSTNAME": f"mx.{DOMAIN}",
        }
        master = Path(daemons.strip()) / "master"
        self._master = Program([master, "-c", self.directory / "etc", "-d"], env=env)
        try:
            self.wait_until(lambda: all(map(is_listening, self.ports)), "not listening")
        except ProgramError:
            self._master.stop()
            raise


def _make_owned(path: Path, owner: str | None, group: str | None, mode: int) -> None:
    path.mkdir()
    shutil.chown(path, owner or "root", group or "root")
    path.chmod(mode)


def write_settled(path: Path, content: str) -> None:
    """Write a configuration file with an old time stamp: Postfix waits with one that may be being written."""
    path.write_text(content)
    os.utime(path, (0, 0))
