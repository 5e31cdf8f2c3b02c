"""The proxies: how each is configured and started, all with the same settings.

One worker, TLS 1.2 and 1.3, the same certificates, session tickets as each has them by default, no log, TCP_NODELAY,
time-outs that nothing here reaches. Cipher and group are the client's only ones.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from attrs import define, field, frozen

from benchmarks.machine import free_ports, openssl_version, pin, pinned, tree
from benchmarks.programs import Certificate, MeasurementError

ROOT = Path(__file__).parents[1]

SERVICES: Mapping[str, str] = {
    "raw": "raw",
    "raw-rsa": "raw",
    "smtp": "smtp",
    "smtps": "smtp",
    "https": "http",
}
"""What a proxy listens for, each on a port of its own, and the backend's service behind it."""

START_LIMIT = 30.0


@frozen
class Setting:
    """What a peer is configured from."""

    directory: Path
    ecdsa: Certificate
    rsa: Certificate
    backend: Mapping[str, int]
    core: int
    workers: int = 1

    def certificate(self, service: str) -> Certificate:
        return self.rsa if service.endswith("-rsa") else self.ecdsa


@define
class Running:
    """A peer that takes connections."""

    name: str
    ports: Mapping[str, int]
    processes: Sequence[subprocess.Popen[bytes]]

    @property
    def pids(self) -> list[int]:
        """Of the whole process tree, as it is now."""
        return tree([process.pid for process in self.processes])

    def openssl(self) -> str:
        """The version that it has loaded: in Postfix, those processes that serve a client have."""
        return openssl_version(list(reversed(self.pids)))

    def stop(self) -> None:
        """End it, and what it started."""
        pids = self.pids
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in tree(pids):
            os.kill(pid, signal.SIGKILL)


@define
class Peer:
    """One row of the comparison."""

    name: ClassVar[str]
    program: ClassVar[str]
    package: ClassVar[str]
    services: ClassVar[frozenset[str]] = frozenset(SERVICES)

    label: str = field(default="")
    """What the row is called."""

    def __attrs_post_init__(self) -> None:
        self.label = self.label or self.name

    def missing(self) -> str | None:
        """Why it can't run here, if it can't."""
        return None if shutil.which(self.program) else f"{self.program} isn't there (Debian: {self.package})"

    def version(self) -> str:
        """Of the program, as it tells itself."""
        raise NotImplementedError

    def commands(self, setting: Setting, ports: Mapping[str, int]) -> list[list[str | Path]]:
        """Write its files to ``setting.directory``, and say how to start it in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def launch(self, setting: Setting) -> Running:
        """Start it. Whether it listens already is another question."""
        setting.directory.mkdir(parents=True, exist_ok=True)
        ports = dict(zip(sorted(self.services), free_ports(len(self.services)), strict=True))
        commands = self.commands(setting, ports)
        with pinned(setting.core), (setting.directory / "output").open("wb") as output:
            processes = [
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=setting.directory,
                    env=self.environment(),
                )
                for command in commands
            ]
        return Running(self.label, ports, processes)

    def start(self, setting: Setting) -> Running:
        """Start it, and wait until it takes connections.

        :raises MeasurementError: It doesn't.
        """
        running = self.launch(setting)
        try:
            for port in running.ports.values():
                _wait_for(port, running)
        except MeasurementError as error:
            running.stop()
            output = (setting.directory / "output").read_text(errors="replace")[-2000:]
            raise MeasurementError(f"{self.label}: {error}:\n{output}") from None
        pin(running.pids, setting.core)
        return running


def _wait_for(port: int, running: Running) -> None:
    deadline = time.monotonic() + START_LIMIT
    pause = threading.Event()
    while time.monotonic() < deadline:
        if any(process.poll() is not None for process in running.processes):
            raise MeasurementError("it ended")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            pause.wait(0.01)
        else:
            return
    raise MeasurementError(f"it doesn't listen on port {port}")


def _told(*command: str | Path) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


def _user() -> str:
    """Debian's hitch won't run as root."""
    return 'user = "nobody"\ngroup = "nogroup"\n' if os.geteuid() == 0 else ""


class Hitch(Peer):
    """One process for each backend, since it knows only one."""

    name = "hitch"
    program = package = "hitch"
    services = frozenset({"raw", "raw-rsa", "smtps", "https"})

    def version(self) -> str:
        return _told("hitch", "--version").split()[1]

    def commands(self, setting: Setting, ports: Mapping[str, int]) -> list[list[str | Path]]:
        return [self._command(setting, service, port) for service, port in ports.items()]

    def _command(self, setting: Setting, service: str, port: int) -> list[str | Path]:
        path = setting.directory / f"{service}.conf"
        path.write_text(f"""\
frontend = "[127.0.0.1]:{port}"
backend = "[127.0.0.1]:{setting.backend[SERVICES[service]]}"
pem-file = "{setting.certificate(service).combined}"
tls-protos = TLSv1.2 TLSv1.3
ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
workers = {setting.workers}
backlog = 4096
ocsp-dir = ""
{_user()}log-level = 0
quiet = on
daemon = off
""")
        return ["hitch", "--config", path]


class HAProxy(Peer):
    """One thread; HTTP in its HTTP mode, all else in its TCP mode."""

    name = "HAProxy"
    program = package = "haproxy"
    services = frozenset({"raw", "raw-rsa", "smtps", "https"})

    def version(self) -> str:
        return _told("haproxy", "-v").split()[2].partition("-")[0]

    def commands(self, setting: Setting, ports: Mapping[str, int]) -> list[list[str | Path]]:
        path = setting.directory / "haproxy.cfg"
        limit = min(20000, (int(os.sysconf("SC_OPEN_MAX")) - 200) // 2)
        lines = [
            f"global\n nbthread {setting.workers}\n maxconn {limit}",
            "defaults\n timeout connect 1h\n timeout client 1h\n timeout server 1h",
        ]
        for service, port in ports.items():
            mode = "http\n option forwardfor" if service == "https" else "tcp"
            lines.append(
                f"listen {service}\n mode {mode}\n"
                f" bind 127.0.0.1:{port} ssl crt {setting.certificate(service).combined} ssl-min-ver TLSv1.2\n"
                f" server backend 127.0.0.1:{setting.backend[SERVICES[service]]}"
            )
        path.write_text("\n".join(lines) + "\n")
        return [["haproxy", "-f", path, "-db", "-q"]]


class Nginx(Peer):
    """Its stream module for raw bytes, its mail module for SMTP, its HTTP module for HTTP."""

    name = "nginx"
    program = "nginx"
    package = "nginx-light libnginx-mod-stream libnginx-mod-mail"

    def missing(self) -> str | None:
        absent = [module for module in ("stream", "mail") if not self._module(module).exists()]
        return Peer.missing(self) or (f"nginx has no {' and no '.join(absent)} module" if absent else None)

    @staticmethod
    def _module(name: str) -> Path:
        return Path(f"/usr/lib/nginx/modules/ngx_{name}_module.so")

    def version(self) -> str:
        return _told("nginx", "-v").strip().rpartition("/")[2].split()[0]

    def commands(self, setting: Setting, ports: Mapping[str, int]) -> list[list[str | Path]]:
        path = setting.directory / "nginx.conf"
        back = {name: f"127.0.0.1:{port}" for name, port in setting.backend.items()}

        def tls(service: str) -> str:
            certificate = setting.certificate(service)
            return (
                f"ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
                " ssl_protocols TLSv1.2 TLSv1.3;"
            )

        path.write_text(f"""\
load_module {self._module("stream")};
load_module {self._module("mail")};
daemon off;
worker_processes {setting.workers};
worker_rlimit_nofile {os.sysconf("SC_OPEN_MAX")};
error_log /dev/null crit;
pid {setting.directory}/nginx.pid;
events {{ worker_connections 40000; }}
stream {{
    proxy_timeout 1h;
    server {{ listen 127.0.0.1:{ports["raw"]} ssl backlog=4096; proxy_pass {back["raw"]}; {tls("raw")} }}
    server {{ listen 127.0.0.1:{ports["raw-rsa"]} ssl backlog=4096; proxy_pass {back["raw"]}; {tls("raw-rsa")} }}
}}
mail {{
    server_name bench.example;
    auth_http {back["auth"]};
    proxy_smtp_auth off;
    smtp_auth none;
    xclient off;
    {tls("smtp")}
    server {{ listen 127.0.0.1:{ports["smtp"]} backlog=4096; protocol smtp; starttls on; }}
    server {{ listen 127.0.0.1:{ports["smtps"]} ssl backlog=4096; protocol smtp; }}
}}
http {{
    access_log off;
    client_body_temp_path {setting.directory};
    proxy_temp_path {setting.directory};
    fastcgi_temp_path {setting.directory};
    uwsgi_temp_path {setting.directory};
    scgi_temp_path {setting.directory};
    keepalive_requests 100000000;
    upstream backend {{ server {back["http"]}; keepalive 512; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{ports["https"]} ssl backlog=4096; {tls("https")}
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
""")
        return [["nginx", "-p", setting.directory, "-c", path]]


class Stunnel(Peer):
    """A thread for each connection: it has no workers."""

    name = "stunnel"
    program = "stunnel"
    package = "stunnel4"

    def version(self) -> str:
        return _told("stunnel", "-version").partition("stunnel ")[2].split()[0]

    def commands(self, setting: Setting, ports: Mapping[str, int]) -> list[list[str | Path]]:
        path = setting.directory / "stunnel.conf"
        lines = ["foreground = yes", "pid =", "debug = emerg", "sslVersionMin = TLSv1.2"]
        for service, port in ports.items():
            certificate = setting.certificate(service)
            lines += [
                f"[{service}]",
                f"accept = 127.0.0.1:{port}",
                f"connect = 127.0.0.1:{setting.backend[SERVICES[service]]}",
                f"cert = {certificate.chain}",
                f"key = {certificate.key}",
                *(["protocol = smtp"] if service == "smtp" else []),
            ]
        path.write_text("\n".join(lines) + "\n")
        return [["stunnel", path]]


_QUEUE_DIRECTORIES: Sequence[str] = (
    *(
        "active",
        "bounce",
        "corrupt",
        "defer",
        "deferred",
        "flush",
        "hold",
        "incoming",
        "private",
        "saved",
        "trace",
    ),
    *("maildrop", "public", "pid"),
)


class Postfix(Peer):
    """Postfix as the end of TLS, with the backend as its before-queue filter: it passes mail on and queues none."""

    name = "Postfix"
    program = package = "postfix"
    services = frozenset({"smtp", "smtps"})

    def missing(self) -> str | None:
        return Peer.missing(self) or (None if os.geteuid() == 0 else "Postfix starts as root only")

    def version(self) -> str:
        return _told("postconf", "-d", "-h", "mail_version").strip()

    def commands(self, setting: Setting, ports: Mapping[str, int]) -> list[list[str | Path]]:
        directory = setting.directory
        for parent in (directory, *directory.parents[:3]):
            if parent.owner() == "root" and parent.is_relative_to("/tmp/"):  # noqa: S108 - its daemons are other users
                parent.chmod(0o755)
        for name in ("queue", "data", *(f"queue/{name}" for name in _QUEUE_DIRECTORIES)):
            path = directory / name
            path.mkdir(mode=0o755)
            if name not in {"queue", "queue/pid"}:
                path.chmod(0o700)
                shutil.chown(path, "postfix")
        for name, mode in (("maildrop", 0o1730), ("public", 0o2710)):
            shutil.chown(directory / "queue" / name, "postfix", "postdrop")
            (directory / "queue" / name).chmod(mode)
        (directory / "main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = bench.example
mydestination =
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_proxy_filter = 127.0.0.1:{setting.backend["smtp"]}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_tls_security_level = may
smtpd_tls_cert_file = {setting.ecdsa.chain}
smtpd_tls_key_file = {setting.ecdsa.key}
smtpd_tls_loglevel = 0
smtpd_tls_protocols = >=TLSv1.2
default_process_limit = 500
max_use = 1000000
""")
        (directory / "master.cf").write_text(f"""\
127.0.0.1:{ports["smtp"]} inet n - n - - smtpd
127.0.0.1:{ports["smtps"]} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
""")
        return [["postfix", "-c", directory, "start-fg"]]


@define
class Tlsproxy(Peer):
    """This one."""

    name = "tlsproxy"
    program = sys.executable
    package = "python3"

    reactor: str = "tlsproxy"
    logging: bool = False
    workers: int = 1
    more: int = 0
    """So many more peers, and certificates for other names, in its configuration."""

    def version(self) -> str:
        from tlsproxy import __version__

        return __version__

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT)}

    def commands(self, setting: Setting, ports: Mapping[str, int]) -> list[list[str | Path]]:
        path = setting.directory / "tlsproxy.toml"
        path.write_text(self._configuration(setting, ports))
        log = (
            ["--logfile", setting.directory / "log"]
            if self.logging
            else ["--logger", "benchmarks.quiet.observer"]
        )
        twistd = [
            Path(sys.executable).with_name("twistd"),
            "-n",
            "--pidfile=",
            "--reactor",
            self.reactor,
            *log,
        ]
        return [[*twistd, "tlsproxy", "--config", path]]

    def _configuration(self, setting: Setting, ports: Mapping[str, int]) -> str:
        lines = [
            f"workers = {self.workers}\ndrain_timeout = 0\nmax_sessions = 1000000\nhandshake_timeout = 60"
        ]
        lines.append(f"tls_certificate = {self._certificates(setting)}")
        lines += [
            f'[backend.{name}]\nservers = ["127.0.0.1:{setting.backend[name]}"]\nkeepalive_connections = 512'
            for name in ("raw", "smtp", "http")
        ]
        kinds = {"raw": "stream", "smtp": "esmtp", "http": "http"}
        for service, port in ports.items():
            behind = SERVICES[service]
            kind = kinds[behind]
            lines += [
                f'[[{kind}_listener]]\nbackend = "{behind}"',
                *(["http_max_requests = 1000000"] if kind == "http" else []),
                f'[[{kind}_listener.listen]]\naddress = "127.0.0.1:{port}"',
                *(["tls_wrappermode = true"] if service == "smtps" else []),
                *([f'tls_certificate = "{setting.rsa.combined}"'] if service == "raw-rsa" else []),
            ]
            lines += [
                f'[[{kind}_listener.listen.peer]]\nnetwork = "10.{index // 250}.{index % 250}.0/24"\n'
                'tls_renegotiation_action = "warn"'
                for index in range(self.more)
            ]
        return "\n".join(lines) + "\n"

    def _certificates(self, setting: Setting) -> str:
        others = [
            Certificate.make(setting.directory, f"other-{index}", f"host-{index}.bench.example")
            for index in range(self.more)
        ]
        return "[" + ", ".join(f'"{each.combined}"' for each in [setting.ecdsa, *others]) + "]"


ALL: Sequence[Peer] = (
    Tlsproxy(),
    Tlsproxy("tlsproxy, logging", logging=True),
    Tlsproxy("tlsproxy, epoll reactor", reactor="epoll"),
    Nginx(),
    Hitch(),
    HAProxy(),
    Stunnel(),
    Postfix(),
)

VARIANTS: Sequence[Peer] = (
    Tlsproxy(),
    Tlsproxy("tlsproxy, 1000 peers and names", more=1000),
    Tlsproxy("tlsproxy, 2 workers", workers=2),
)
"""A configuration as large as it gets, and two workers: on one core, so that what shows is the cost of sharing."""
