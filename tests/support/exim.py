"""A real Exim for tests: a daemon of its own on loopback ports, in a directory of its own.

It takes mail for any address at :data:`~tests.support.mailboxes.DOMAIN` into a Maildir, from everybody, and offers AUTH
without TLS and STARTTLS with a certificate that it signs itself.
"""

import shutil
import tempfile
from pathlib import Path

from attrs import define, field, frozen

from tests.support.mailboxes import DOMAIN, MailServer
from tests.support.processes import Program, free_ports
from tests.support.programs import require_root
from tests.support.unpacked import copy_program, make_for_nobody, own_names, unpacked

USER, PASSWORD = "user", "correct horse"
"""For AUTH PLAIN, LOGIN and CRAM-MD5."""

_USER = "Debian-exim"  # compiled in

_CONFIGURATION = """\
exim_path = {directory}/exim4
spool_directory = {directory}/spool
log_file_path = {directory}/log/%s
log_selector = +incoming_port +proxy +smtp_protocol_error +smtp_syntax_error +smtp_no_mail{logged}
keep_environment = LD_PRELOAD : ^NSS_WRAPPER_
deliver_drop_privilege
primary_hostname = mx.{domain}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {ports}
hosts_proxy = ${{if ={{$received_port}}{{{proxy_port}}} {{127.0.0.1}}}}
host_lookup =
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
check_spool_space = 0
smtputf8_advertise_hosts = *
acl_smtp_rcpt = recipient
acl_smtp_data = accept

begin acl
recipient:
  accept domains = {domain}
  deny message = relay not permitted

begin routers
{router}

begin transports
maildir:
  driver = appendfile
  directory = {directory}/mail
  maildir_format
  user = {user}

{transport}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{name}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${{if and{{{{eq{{$auth1}}{{{name}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq{{$auth1}}{{{name}}}{{{password}}}fail}}
  server_set_id = $auth1
"""


_INBOX = """\
inbox:
  driver = accept
  transport = maildir
"""

_SMARTHOST = """\
smarthost:
  driver = manualroute
  transport = smarthost
  route_list = * 127.0.0.1
  self = send
"""

_SMARTHOST_TRANSPORT = """\
smarthost:
  driver = smtp
  port = {port}
  protocol = {protocol}
  allow_localhost
  hosts_require_tls = *
  tls_verify_hosts = *
  tls_verify_certificates = {directory}/ca.pem
  hosts_pipe_connect = *
"""


@frozen
class Smarthost:
    """Where all mail goes: to a loopback ``port``, under TLS that is verified with ``ca``."""

    port: int
    ca: Path
    """The proxy's name is checked too: Exim takes 127.0.0.1 for its own name, ``mx.mail.example``."""
    implicit: bool = False
    """TLS from the first byte."""

    def transport(self, directory: Path) -> str:
        """Configure it for an Exim in ``directory``, which its user can read."""
        shutil.copyfile(self.ca, directory / "ca.pem")
        protocol = "smtps" if self.implicit else "smtp"
        return _SMARTHOST_TRANSPORT.format(port=self.port, protocol=protocol, directory=directory)


@define
class Exim(MailServer):
    """A running Exim.

    :param smarthost: Where it sends what it takes, instead of delivering it.
    """

    smarthost: Smarthost | None = None
    port: int = field(init=False)
    proxy_port: int = field(init=False)
    """Where a connection has to begin with a PROXY header (``hosts_proxy``)."""
    directory: Path = field(init=False)
    _daemon: Program = field(init=False)

    @property
    def log(self) -> str:
        path = self.directory / "log" / "main"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def inbox(self) -> Path:
        return self.directory / "mail" / "new"

    @property
    def daemon(self) -> Program:
        return self._daemon

    def start(self) -> None:
        program = unpacked("usr/sbin/exim4", package="exim4-daemon-heavy")
        require_root("exim changes to its own user")
        self.directory = Path(tempfile.mkdtemp(prefix="exim-"))
        try:
            self._start_daemon(program)
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    def _start_daemon(self, program: Path) -> None:
        directory = self.directory
        directory.chmod(0o755)
        environment = own_names(directory, _USER, hostname=f"mx.{DOMAIN}")
        for name in ("spool", "log", "mail"):
            make_for_nobody(directory / name)
        self.port, self.proxy_port = free_ports(2)
        configuration = directory / "exim.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                domain=DOMAIN,
                ports=f"{self.port} : {self.proxy_port}",
                proxy_port=self.proxy_port,
                user=_USER,
                router=_INBOX if self.smarthost is None else _SMARTHOST,
                logged="" if self.smarthost is None else " +tls_certificate_verified +pipelining",
                transport="" if self.smarthost is None else self.smarthost.transport(directory),
                name=USER,
                password=PASSWORD,
            )
        )
        self._daemon = Program(
            [copy_program(program, directory), "-C", configuration, "-bdf"], env=environment
        )
        try:
            self._daemon.wait_for_port(self.port, self.proxy_port)
        except BaseException:
            self._daemon.stop()
            raise
