"""A real Sendmail for tests, as they are in front of which a proxy stands: a daemon on a loopback port, in a directory of
its own.

It takes mail for any address at :data:`~tests.support.mailboxes.DOMAIN` into a directory, from everybody, and like every
Sendmail before 8.18 it takes bare newlines in a message for line ends: ``LF.LF`` ends it.
"""

import shutil
import tempfile
from pathlib import Path

from attrs import define, field

from tests.support.mailboxes import DOMAIN, MailServer
from tests.support.processes import Program, free_port
from tests.support.programs import require_root
from tests.support.unpacked import NOBODY, copy_program, make_for_nobody, own_names, unpacked

# Ruleset srv_features: G, U and O are Sendmail 8.18's, and Debian's 8.17.1.9-2+deb12u2 has them too. They take the refusal
# of bare LF, of bare CR, and of their like in an end of data back.
_CONFIGURATION = """\
V10/Berkeley
Dj{hostname}
DnMAILER-DAEMON
O ServiceSwitchFile={directory}/switch
O HostsFile={directory}/hosts
O QueueDirectory={directory}/queue
O PidFile={directory}/pid
O DaemonPortOptions=Name=MTA, Addr=127.0.0.1, Port={port}, Family=inet
O DeliveryMode=interactive
O SmtpGreetingMessage=$j Sendmail $v; $b
O Timeout.ident=0
O DefaultUser={nobody}:{nobody}
O TrustedUser=root
O DontProbeInterfaces=True
O EightBitMode=pass8
O PrivacyOptions=goaway
O MaxMessageSize=52428800
HReceived: $?sfrom $s $.$?_($?s$|from $.$_)
	$.by $j ($v)$?r with $r$. id $i$?u
	for $u; $|;
	$.$b

Ssrv_features
R$*	$# G U O

Scheck_rcpt
R<$+@{domain}>	$@ OK
R$*	$#error $@ 5.7.1 $: "550 Relaying denied"

S3
R$*<$*>$*	$2

S0
R$*	$#local $: $1

Mlocal, P={directory}/deliver, F=lDFMPu, S=0, R=0, U={nobody}:{nobody}, A=deliver $u
Mprog, P=/bin/false, F=lsDFMoqeu9, A=false
"""

_DELIVER = """\
#!/bin/sh
set -e
cat >{directory}/incoming/$$
mv {directory}/incoming/$$ {directory}/mail/$$
"""


@define
class Sendmail(MailServer):
    """A running Sendmail. Its log is the whole of every dialogue: ``<<<`` before what came, ``>>>`` before what it said."""

    port: int = field(init=False)
    directory: Path = field(init=False)
    _daemon: Program = field(init=False)

    @property
    def log(self) -> str:
        path = self.directory / "traffic"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def inbox(self) -> Path:
        return self.directory / "mail"

    @property
    def daemon(self) -> Program:
        return self._daemon

    def start(self) -> None:
        program = unpacked("usr/libexec/sendmail/sendmail", package="sendmail-bin")
        require_root("sendmail changes to the recipient's user")
        self.directory = Path(tempfile.mkdtemp(prefix="sendmail-"))
        try:
            self._start_daemon(program)
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    def _start_daemon(self, program: Path) -> None:
        directory = self.directory
        directory.chmod(0o755)
        hostname = f"mx.{DOMAIN}"
        environment = own_names(directory, "smmsp", hostname=hostname)
        for name in ("incoming", "mail"):
            make_for_nobody(directory / name)
        (directory / "queue").mkdir(mode=0o700)
        (directory / "switch").write_text("hosts files\naliases files\npasswd files\n")
        deliver = directory / "deliver"
        deliver.write_text(_DELIVER.format(directory=directory))
        deliver.chmod(0o755)
        self.port = free_port()
        configuration = directory / "sendmail.cf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=directory, hostname=hostname, domain=DOMAIN, port=self.port, nobody=NOBODY
            )
        )
        sendmail = copy_program(program, directory)
        self._daemon = Program(
            [sendmail, "-C", configuration, "-bD", "-X", directory / "traffic"], env=environment
        )
        try:
            self._daemon.wait_for_port(self.port)
        except BaseException:
            self._daemon.stop()
            raise
