"""A real Sendmail for tests, as they are in front of which a proxy stands: a daemon on a loopback port, in a directory of
its own.

It takes mail for any address at :data:`~tests.support.mailboxes.DOMAIN` into a directory, from everybody, and like every
Sendmail before 8.18 it takes bare newlines in a message for line ends: ``LF.LF`` ends it.
"""

import shutil
import tempfile
from pathlib import Path

from attrs import define, field, frozen

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
{route}

Mlocal, P={directory}/deliver, F=lDFMPu, S=0, R=0, U={nobody}:{nobody}, A=deliver $u
Mprog, P=/bin/false, F=lsDFMoqeu9, A=false
"""

_INBOX = "R$*	$#local $: $1"

# Ruleset tls_server is given how the server's certificate was verified.
_SMARTHOST = """\
R$*	$#smarthost $@ [127.0.0.1] $: $1

Stls_server
ROK	$@ OK
R$*	$#error $@ 5.7.0 $: "554 server not verified: " $1

O CACertFile={directory}/ca.pem
O CACertPath={directory}
Msmarthost, P=[IPC], F=mDFMuXa8, S=0, R=0, E=\\r\\n, L=2040, T=DNS/RFC822/SMTP, A=TCP $h {port}
"""

_DELIVER = """\
#!/bin/sh
set -e
cat >{directory}/incoming/$$
mv {directory}/incoming/$$ {directory}/mail/$$
"""


@frozen
class Smarthost:
    """Where all mail goes: to a loopback ``port``, after STARTTLS with a certificate that ``ca`` issued."""

    port: int
    ca: Path


@define
class Sendmail(MailServer):
    """A running Sendmail. Its log is the whole of every dialogue: ``<<<`` before what came, ``>>>`` before what it said.

    :param smarthost: Where it sends what it takes, instead of delivering it.
    """

    smarthost: Smarthost | None = None
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
        # A server that greets by Sendmail's own name is a loop to it.
        hostname = f"mx.{DOMAIN}" if self.smarthost is None else "sender.example"
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
                directory=directory,
                hostname=hostname,
                domain=DOMAIN,
                port=self.port,
                nobody=NOBODY,
                route=self._route(),
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

    def _route(self) -> str:
        if self.smarthost is None:
            return _INBOX
        shutil.copyfile(self.smarthost.ca, self.directory / "ca.pem")
        return _SMARTHOST.format(directory=self.directory, port=self.smarthost.port)
