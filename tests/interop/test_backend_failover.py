"""Two Postfix servers behind the proxy, one of which is killed, stalled or restarted while clients send."""

import os
import re
import signal
import smtplib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import define, field

from tests.support.mailboxes import DOMAIN
from tests.support.postfix import Postfix, Smtpd
from tests.support.processes import free_port
from tests.support.proxy import Proxy

CLIENTS = 30
MESSAGES = 12
"""Of each client."""

PATIENCE = 60.0
"""Seconds in which every message has to be accepted."""

_ATTEMPT = re.compile(rb"^X-Attempt: (\S+)$", re.MULTILINE)
_QUEUE_ID = re.compile(rb"^\tby .* with ESMTP id (\w+)", re.MULTILINE)


def config(servers: list[int], **options: object) -> str:
    addresses = ", ".join(f'"127.0.0.1:{port}"' for port in servers)
    return "\n".join(
        [
            f'[backend.mail]\nservers = [{addresses}]\nidentity = "trace_header"',
            *(f"{key} = {value}" for key, value in options.items()),
            '[[esmtp_listener]]\nbackend = "mail"\ntls_security_level = "none"',
            '[[esmtp_listener.listen]]\naddress = "127.0.0.1:0"',
        ]
    )


@define
class Sender:
    """Sends as a mail server would: what isn't accepted is sent again."""

    port: int
    accepted: list[str] = field(factory=list)
    """Attempts to which 250 was said."""
    uncertain: list[str] = field(factory=list)
    """Attempts to whose end of data the server gave no reply, which the proxy then tells with 421: a server killed between
    the two has perhaps queued the message, and nobody can tell (RFC 1047)."""
    refusals: Counter[str] = field(factory=Counter)
    stop: threading.Event = field(factory=threading.Event)
    _lock: threading.Lock = field(factory=threading.Lock)

    def send_all(self, client: int) -> None:
        for message in range(MESSAGES):
            tries = 0
            while not self.send(f"{client}.{message}.{tries}"):
                tries += 1
                assert not self.stop.wait(0.05), f"message {client}.{message} was never accepted"

    def send(self, attempt: str) -> bool:
        content = f"X-Attempt: {attempt}\r\nSubject: {attempt}\r\n\r\n{'body ' * 400}\r\n".encode()
        at_end = False
        try:
            session = smtplib.SMTP("127.0.0.1", self.port, "client.example", timeout=20)
            try:
                session.ehlo()
                for command in ("MAIL FROM:<a@client.example>", f"RCPT TO:<user@{DOMAIN}>"):
                    self.expect(session.docmd(command), 250)
                self.expect(session.docmd("DATA"), 354)
                for begin in range(0, len(content), len(content) // 3 + 1):
                    session.send(content[begin : begin + len(content) // 3 + 1])
                    self.stop.wait(0.02)  # as over a line: so that some are in the middle when a server goes
                at_end = True
                session.send(b".\r\n")
                self.expect(session.getreply(), 250)
                with self._lock:
                    self.accepted.append(attempt)
                return True
            finally:
                session.close()
        except (smtplib.SMTPException, OSError) as error:
            with self._lock:
                self.refusals[type(error).__name__] += 1
                refused = isinstance(error, smtplib.SMTPResponseException) and error.smtp_code != 421
                if at_end and not refused:
                    self.uncertain.append(attempt)
            return False

    @staticmethod
    def expect(reply: tuple[int, bytes], code: int) -> None:
        if reply[0] != code:
            raise smtplib.SMTPResponseException(*reply)


@pytest.fixture
def servers() -> Iterator[list[Postfix]]:
    options = {"smtpd_client_connection_count_limit": "0", "default_process_limit": "60"}
    with Postfix([Smtpd()], options) as one, Postfix([Smtpd()], options) as other:
        yield [one, other]


def kill(server: Postfix) -> None:
    os.killpg(server.daemon.pid, signal.SIGKILL)
    server.daemon.process.wait(5)


def stall(server: Postfix) -> None:
    os.killpg(server.daemon.pid, signal.SIGSTOP)


def go_on(server: Postfix) -> None:
    os.killpg(server.daemon.pid, signal.SIGCONT)


def start_again(server: Postfix) -> None:
    server.daemon.stop()
    server._start_master()


def stop(server: Postfix) -> None:
    server.daemon.stop()


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [(kill, start_again), (stop, start_again), (stall, go_on)],
    ids=["killed", "restarted", "stalled"],
)
def test_no_message_is_lost_or_doubled(
    servers: list[Postfix],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    break_it: Callable[[Postfix], None],
    mend_it: Callable[[Postfix], None],
) -> None:
    toml = config(
        [server.port for server in servers],
        policy='"round_robin"',
        connect_timeout=2,
        greeting_timeout=2,
        max_failures=2,
        ejection_time=1,
        slow_start=1,
    )
    broken = f"127.0.0.1:{servers[0].port}"
    with Proxy.start(tmp_path, toml) as proxy, ThreadPoolExecutor(CLIENTS) as pool:
        sender = Sender(proxy.ports()[0])
        giving_up = threading.Timer(PATIENCE, sender.stop.set)
        giving_up.start()
        sending = [pool.submit(sender.send_all, client) for client in range(CLIENTS)]
        servers[0].wait_until(lambda: len(sender.accepted) > CLIENTS, "nothing is accepted", 30)
        break_it(servers[0])
        proxy.wait_for_note("backend_server_down", backend="mail", server=broken, timeout=30)
        mend_it(servers[0])
        for each in sending:
            each.result(PATIENCE * 2)
        giving_up.cancel()
        assert len(sender.accepted) == CLIENTS * MESSAGES
        while not changes(proxy, "backend_server_up"):
            assert sender.send(f"late.{len(sender.accepted)}.0")
        delivered = Counter(attempts(servers, len(sender.accepted)))
        assert [attempt for attempt in sender.accepted if not delivered[attempt]] == [], "lost"
        assert [attempt for attempt, count in delivered.items() if count > 1] == [], "doubled"
        unknown = delivered.keys() - set(sender.accepted) - set(sender.uncertain)
        assert unknown == set(), "accepted by nobody's word"
        record_property("messages accepted", len(sender.accepted))
        record_property("attempts refused", dict(sender.refusals))
        record_property("attempts without an answer", len(sender.uncertain))
        for event in ("backend_server_down", "backend_server_up"):
            record_property(event, changes(proxy, event))


def changes(proxy: Proxy, event: str) -> int:
    return sum(note["event"] == event for note in proxy.notes)


def attempts(servers: list[Postfix], count: int) -> list[str]:
    """The attempt that each message was; one that a Postfix delivered twice after it was killed counts once."""

    def found() -> dict[tuple[str, str], None]:
        messages = [message for server in servers for message in server.messages()]
        return {(named(_ATTEMPT, message), named(_QUEUE_ID, message)): None for message in messages}

    servers[0].wait_until(lambda: len(found()) >= count, "not all is delivered", 30)
    return [attempt for attempt, _ in found()]


def named(pattern: re.Pattern[bytes], message: bytes) -> str:
    match = pattern.search(message)
    assert match is not None, message[:500]
    return match[1].decode()


def test_a_server_that_is_not_there_from_the_start_costs_no_client_anything(
    servers: list[Postfix], tmp_path: Path
) -> None:
    with Proxy.start(tmp_path, config([free_port(), servers[0].port], max_failures=2)) as proxy:
        sender = Sender(proxy.ports()[0])
        for number in range(5):
            assert sender.send(f"{number}.0.0")
        assert sender.refusals == {}
        failed = [note for note in proxy.notes if note["event"] == "backend_failed"]
        assert len(failed) == 2
        ended = proxy.wait_for_note("session_ended", reason="client_closed")
        assert ended["server"] == f"127.0.0.1:{servers[0].port}"


def test_a_name_with_several_addresses_is_one_server(servers: list[Postfix], tmp_path: Path) -> None:
    """Where the machine's ``localhost`` has both, the connection to ::1 is refused first."""
    port = servers[0].port
    toml = config([port]).replace("127.0.0.1:" + str(port), f"localhost:{port}")
    with Proxy.start(tmp_path, toml) as proxy:
        sender = Sender(proxy.ports()[0])
        assert all(sender.send(f"{number}.0.0") for number in range(3))
        assert proxy.wait_for_note("session_ended", server=f"localhost:{port}")


def test_health_checks_take_a_server_out_and_back_and_the_log_can_bear_them(
    servers: list[Postfix], tmp_path: Path
) -> None:
    server = servers[0]
    toml = config([server.port], health_check='"smtp"', health_check_interval=0.5, health_check_timeout=0.5)
    with Proxy.start(tmp_path, toml) as proxy:
        server.wait_for_log(r"disconnect from unknown\[127\.0\.0\.1\] quit=1 commands=1")
        assert re.findall(r"smtpd\[\d+\]: (lost|warning|error|improper)", server.log) == []
        stall(server)
        note = proxy.wait_for_note("backend_server_down", backend="mail")
        assert note["detail"] == "health check: no answer within 0.5 s"
        go_on(server)
        proxy.wait_for_note("backend_server_up", backend="mail")
