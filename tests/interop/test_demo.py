"""Every command that ``tlsproxy demo`` prints does what its comment promises, when it is pasted."""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.demo import Demo
from tests.support.programs import require

ALLOWED = "a renegotiation attempt (R) is allowed"
KEPT = "a renegotiation attempt (R) is answered with no_renegotiation; tlsproxy goes on, openssl doesn't"
CLOSED = "a renegotiation attempt (R) is answered with no_renegotiation, the connection is closed"

Done = subprocess.CompletedProcess[str]


def accepted(done: Done, log: str) -> None:
    assert "CONNECTION ESTABLISHED" in done.stdout
    assert "Verification: OK" in done.stdout
    assert "hello" in done.args or done.returncode == 0
    assert "hello" not in done.args or re.search("^hello$", done.stdout, re.MULTILINE)


def refused(done: Done, log: str) -> None:
    assert "alert protocol version" in done.stdout
    assert "CONNECTION ESTABLISHED" not in done.stdout
    assert "tls_refused" in log


def answered(done: Done) -> int:
    """How many of the two lines were answered that are said before the attempt and after it."""
    return len(re.findall(r"^(?:hello|250 Ok)\r?$", done.stdout, re.MULTILINE))


def allowed(done: Done, log: str) -> None:
    assert "RENEGOTIATING" in done.stdout
    assert answered(done) == 2
    assert "renegotiation attempt 1: allowed" in log


def kept(done: Done, log: str) -> None:
    assert "no renegotiation" in done.stdout
    assert answered(done) == 1
    assert "renegotiation attempt 1: warned" in log
    assert "ended (renegotiation_refused)" not in log


def closed(done: Done, log: str) -> None:
    assert "no renegotiation" in done.stdout
    assert answered(done) == 1
    assert "renegotiation attempt 1: closed" in log
    assert "ended (renegotiation_refused)" in log


CHECKS: Mapping[str, Callable[[Done, str], None]] = {
    ALLOWED: allowed,
    KEPT: kept,
    CLOSED: closed,
    **{f"{version} is accepted": accepted for version in ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")},
    **{f"{version} is refused": refused for version in ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")},
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    require("swaks", package="swaks")
    with Demo.start(tmp_path_factory.mktemp("demo")) as running:
        yield running


def paste(demo: Demo, command: str) -> Done:
    return subprocess.run(  # noqa: S602 - as a user does
        command,
        shell=True,
        cwd=demo.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


def test_every_tls_command_does_what_is_promised(demo: Demo) -> None:
    require("openssl", package="openssl")
    examples = [(promise, command) for promise, command in demo.examples() if "s_client" in command]
    promises = {promise for promise, _ in examples}
    assert {
        ALLOWED,
        KEPT,
        CLOSED,
        "TLSv1 is accepted",
        "TLSv1.1 is refused",
        "TLSv1.3 is accepted",
    } <= promises
    with ThreadPoolExecutor(8) as pool:  # most of them only wait
        results = [(promise, pool.submit(paste, demo, command)) for promise, command in examples]
    for promise, result in results:
        done = result.result()
        CHECKS[promise](done, log_of(demo, done.args))


def log_of(demo: Demo, command: str) -> str:
    """What the proxy logged of the listen that the command connects to."""
    match = re.search("-connect ([^ ]*) ", command)
    assert match is not None
    return "\n".join(line for line in demo.output.splitlines() if f" listen={match[1]} " in line)


def test_the_mail_commands_send_and_show(demo: Demo) -> None:
    examples = [example for example in demo.examples() if "s_client" not in example[1]]
    mail = [example for example in examples if example[1].split()[0].rpartition("/")[2] in ("swaks", "cat")]
    assert len(mail) == 4
    for number, ((promise, send), (shown, show)) in enumerate(
        zip(mail[::2], mail[1::2], strict=True), start=1
    ):
        assert promise == "a message is taken, and is in var/maildir/new"
        assert send.startswith("swaks ")
        assert paste(demo, send).returncode == 0
        assert len(demo.inbox()) == number
        assert shown == "the message, with the client and its TLS in the Received: field on top"
        output = paste(demo, show).stdout
        assert re.match(r"Received: from .* \(127\.0\.0\.1:[0-9]+, TLSv1\.3 TLS_.*\)\n", output)
        assert "by way of tlsproxy" in output


def test_the_web_commands_show_what_is_promised(demo: Demo) -> None:
    require("curl", package="curl")
    web = {
        promise: paste(demo, command) for promise, command in demo.examples() if command.startswith("curl ")
    }
    told = web.pop(
        "the backend is told who the client is, and doesn't hear what the client says of that"
    ).stdout
    assert "X-Forwarded-For: 127.0.0.1\n" in told
    assert "X-Tls-Version: TLSv1.3\n" in told
    assert "192.0.2.1" not in told
    assert web.pop("a request that could be seen as two is refused").stdout.startswith("HTTP/1.1 400 ")
    redirected = web.pop("plaintext is redirected to https").stdout
    assert redirected.startswith("HTTP/1.1 301 ")
    assert re.search(r"^Location: https://localhost:[0-9]+/\s*$", redirected, re.MULTILINE)
    assert not web


def test_the_commands_about_the_configuration_tell(demo: Demo) -> None:
    about = {
        promise: paste(demo, command)
        for promise, command in demo.examples()
        if command.split()[0].endswith("tlsproxy")
    }
    checked = about.pop("what there is to say about the configuration")
    assert checked.returncode == 0
    assert "valid, no warnings" in checked.stdout
    evaluated = about.pop("the options in force for a client, and where each comes from")
    assert evaluated.returncode == 0
    assert re.search(r"^tls_wrappermode +(true|false) ", evaluated.stdout, re.MULTILINE)
    probed = about.pop("whether the mail server relays for all the world")
    assert probed.returncode == 0
    assert "refuses: 550 5.7.1 Relaying denied" in probed.stdout
    assert not about


def test_every_command_is_held_to_something(demo: Demo) -> None:
    known = ("s_client", "curl ", "swaks ", "cat ", " check ", " eval ", " probe ")
    assert [command for _, command in demo.examples() if not any(word in command for word in known)] == []
