"""``tlsproxy import postfix`` held against Postfix itself: how it reads its files, and which TLS it then speaks."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.importing.checking import checked
from tests.config.importing.test_postfix_expand import TABLE, VALUES
from tests.support.certificates import Authority, Issued
from tests.support.postfix import Postfix, Smtpd, write_settled
from tests.support.processes import free_ports, run
from tests.support.programs import require
from tests.support.proxy import Proxy
from tlsproxy.config.importing.postfix import import_postfix
from tlsproxy.config.importing.postfix_defaults import DEFAULTS
from tlsproxy.config.importing.postfix_expand import ExpansionError, expand
from tlsproxy.config.importing.postfix_files import parse_main, parse_master
from tlsproxy.policy.protocols import TlsVersion


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("postfix")
    write_settled(path / "master.cf", "smtp inet n - y - - smtpd\n")
    return path


NAMES = "myhostname = mx.example.org\nmydomain = example.org\nmynetworks = 127.0.0.1\n"
"""Without them postconf asks the DNS for the machine's name."""


def postconf(directory: Path, *arguments: str) -> str:
    status, output = run([require("postconf", package="postfix"), "-c", directory, *arguments])
    assert status == 0, output
    return output


_WARNING = "postconf: warning:"


_OTHER_WARNINGS = ("undefined parameter", "unused parameter", "missing '}' in", "syntax error after '}' in")
"""Not about expansion: the last two come of looking for lookup tables in a value."""


def without_warnings(output: str) -> str:
    return "".join(line for line in output.splitlines(keepends=True) if _WARNING not in line)


def expanded_by_postconf(directory: Path, text: str, values: Mapping[str, str]) -> str | None:
    """The value, its white space folded as postconf prints it; None where postconf says that it can't be expanded."""
    parameters = "".join(f"{name} = {value}\n" for name, value in values.items())
    write_settled(directory / "main.cf", f"{NAMES}{parameters}smtpd_banner = {text}\n")
    _, output = run([require("postconf", package="postfix"), "-c", directory, "-x", "-h", "smtpd_banner"])
    faults = [
        line
        for line in output.splitlines()
        if _WARNING in line and not any(each in line for each in _OTHER_WARNINGS)
    ]
    return None if faults else " ".join(without_warnings(output).split())


def expanded_by_us(text: str, values: Mapping[str, str]) -> str | None:
    try:
        return " ".join(expand(text, values.get)[0].split())
    except ExpansionError:
        return None


@pytest.mark.parametrize("text", [text for text, _ in TABLE])
def test_postconf_expands_names_as_we_do(directory: Path, text: str) -> None:
    values = {name: value for name, value in VALUES.items() if name not in ("loop", "one", "two", "long")}
    assert expanded_by_postconf(directory, text, values) == expanded_by_us(text, values)


PIECES = st.sampled_from(
    ["$", "{", "}", "${", "x", "y", "none", "?", ":", "{a}", "==", "!=", " ", "$$", "(", ")", "1"]
)


@settings(max_examples=30)  # each is a process
@given(pieces=st.lists(PIECES, min_size=1, max_size=10))
def test_postconf_expands_any_text_as_we_do(directory: Path, pieces: list[str]) -> None:
    text = "a" + "".join(pieces)  # a brace at the beginning is read otherwise
    values = {"x": "X$y", "y": "Y", "none": ""}
    assert expanded_by_postconf(directory, text, values) == expanded_by_us(text.strip(), values)


FILES = [
    "smtpd_banner = a\n  b\n# comment\n  c\nmydestination =\n",
    "# comment\n  # comment\n\nsmtpd_banner=a = b\n\n   continued\n",
    "smtpd_banner = one\nsmtpd_banner = two\n",
    "smtpd_banner\t=\ta\t\n\tb  \nmydestination = mx.example.org\n",
]


@pytest.mark.parametrize("text", FILES)
def test_postconf_reads_lines_as_we_do(directory: Path, text: str) -> None:
    write_settled(directory / "main.cf", NAMES + text)
    settings, _ = parse_main(text)
    for name, setting in settings.items():
        assert without_warnings(postconf(directory, "-h", name)).split() == setting.value.split()


def test_postconf_reads_overrides_as_we_do(directory: Path) -> None:
    text = (
        "smtp inet n - y - - smtpd -v -o smtpd_tls_security_level=may\n"
        "submission inet n - y - - smtpd\n  -o smtpd_banner=a=b\n# comment\n\n  -o smtpd_tls_auth_only=yes\n"
        "  -o { smtpd_tls_protocols = >=TLSv1.2, <=TLSv1.3 }\n  -o {smtpd_recipient_restrictions = {reject_x a}}\n"
    )
    write_settled(directory / "main.cf", NAMES)
    write_settled(directory / "master.cf", text)
    services, remarks = parse_master(text)
    assert remarks == []
    ours = {
        (service.name, name): setting.value
        for service in services
        for name, setting in service.overrides.items()
    }
    theirs = {}
    for line in without_warnings(postconf(directory, "-P")).splitlines():
        place, _, value = line.partition(" = ")
        service, _, name = place.split("/")
        theirs[service, name] = value
    assert ours == theirs


VERSIONED = {
    "compatibility_level",
    "smtpd_forbid_bare_newline",
    "mynetworks",
    "smtpd_tls_fingerprint_digest",
    "stress",
}
"""Parameters whose default depends on the version, on the machine, or that postconf doesn't list."""


def test_the_defaults_are_postfix_s(directory: Path) -> None:
    write_settled(directory / "main.cf", NAMES)
    theirs = dict(
        line.split(" =", 1)
        for line in without_warnings(postconf(directory, "-d")).splitlines()
        if " =" in line
    )
    known = {name: value for name, value in DEFAULTS.items() if name in theirs.keys() - VERSIONED}
    assert len(known) > 50
    assert {name: theirs[name].strip() for name in known} == known


CONFIGURATIONS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "floor": {"smtpd_tls_protocols": ">=TLSv1.2"},
    "old style": {"smtpd_tls_protocols": "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"},
    "inclusion": {"smtpd_tls_protocols": "TLSv1.2 TLSv1.3"},
    "gap": {"smtpd_tls_protocols": "TLSv1, TLSv1.2"},
    "range": {"smtpd_tls_protocols": ">=TLSv1.1, <=TLSv1.2"},
    "hexadecimal": {"smtpd_tls_protocols": ">=0302 <=0x303"},
    "empty": {"smtpd_tls_protocols": ""},
    "trap: white space": {"smtpd_tls_protocols": ">= TLSv1.2"},
    "trap: unknown bound": {"smtpd_tls_protocols": ">=0305"},
    "trap: SSLv2": {"smtpd_tls_protocols": "SSLv2"},
    "mandatory list where TLS isn't": {"smtpd_tls_mandatory_protocols": "TLSv1.3"},
    "variable": {
        "smtpd_tls_mandatory_protocols": "TLSv1.3",
        "smtpd_tls_protocols": "$smtpd_tls_mandatory_protocols",
    },
    "condition": {"smtpd_tls_protocols": "${mail_owner?{>=TLSv1.1}:{TLSv1.3}}"},
    "level": {"smtpd_tls_protocols": "${{$compatibility_level} >=level {3.6} ? {>=TLSv1.2} : {!SSLv3}}"},
    "encrypt": {"smtpd_tls_security_level": "encrypt"},
    "encrypt, mandatory list": {
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_mandatory_protocols": ">=TLSv1.2",
    },
    "encrypt, other list": {"smtpd_tls_security_level": "encrypt", "smtpd_tls_protocols": "TLSv1.3"},
    "enforce": {
        "smtpd_tls_security_level": "",
        "smtpd_enforce_tls": "yes",
        "smtpd_tls_mandatory_protocols": "TLSv1.2",
    },
    "verify": {"smtpd_tls_security_level": "verify", "smtpd_tls_mandatory_protocols": "TLSv1.2"},
    "wrapper": {"smtpd_tls_wrappermode": "yes", "smtpd_tls_mandatory_protocols": ">=TLSv1.1, <=TLSv1.2"},
    "wrapper, other list": {"smtpd_tls_wrappermode": "yes", "smtpd_tls_protocols": "TLSv1.3"},
    "none": {"smtpd_tls_security_level": "none"},
    "use": {"smtpd_tls_security_level": "", "smtpd_use_tls": "yes", "smtpd_tls_protocols": "<=TLSv1.2"},
    "no starttls": {"smtpd_discard_ehlo_keywords": "starttls, chunking"},
    "no certificate": {"smtpd_tls_cert_file": "", "smtpd_tls_key_file": ""},
    "high": {"smtpd_tls_ciphers": "high", "smtpd_tls_exclude_ciphers": "MD5, aNULL"},
    "no TLS 1.0 suites": {"tls_medium_cipherlist": "ECDHE+AESGCM:AES128-GCM-SHA256"},
}

VOID = {f"void: {text}": text for text in ("TLSv1.0", "+ALL:-SSLv3", ">=TLSv1.3, <=TLSv1.2", "!")}
"""Lists with which Postfix speaks no TLS: tlsproxy's default takes their place."""


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Issued:
    return authority.issue("mx.mail.example", key_type="rsa")


@pytest.fixture(scope="module")
def postfix(certificate: Issued) -> Iterator[Postfix]:
    """A service for each configuration, and a last one to stand behind tlsproxy."""
    options = {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(certificate.chain_path),
        "smtpd_tls_key_file": str(certificate.key_path),
        "smtpd_client_connection_rate_limit": "0",
        "max_idle": "1s",
    }
    plain = Smtpd({"smtpd_tls_security_level": "none", "smtpd_authorized_xclient_hosts": "127.0.0.1"})
    lists = [{"smtpd_tls_protocols": text} for text in VOID.values()]
    with Postfix([*map(Smtpd, [*CONFIGURATIONS.values(), *lists]), plain], options) as postfix:
        yield postfix


@pytest.fixture(scope="module")
def ports(postfix: Postfix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """For each configuration the port of tlsproxy, with Postfix's own files imported."""
    main, master = ((postfix.directory / "etc" / name).read_text() for name in ("main.cf", "master.cf"))
    master = master.partition(f"127.0.0.1:{postfix.ports[-1]} inet")[0]
    imported = import_postfix(main, master, servers=[f"127.0.0.1:{postfix.ports[-1]}"])
    configuration, _ = checked(imported)
    assert len(configuration.listeners) == len(postfix.ports) - 1
    toml = imported.toml
    names = [*CONFIGURATIONS, *VOID]
    replaced = dict(zip(postfix.ports[:-1], free_ports(len(names)), strict=True))
    for theirs, ours in replaced.items():
        toml = toml.replace(f'address = "127.0.0.1:{theirs}"', f'address = "127.0.0.1:{ours}"')
    with Proxy.start(tmp_path_factory.mktemp("proxy"), toml) as proxy:
        proxy.wait_for_port(*replaced.values())
        yield {name: replaced[port] for name, port in zip(names, replaced, strict=True)}


_OPTIONS = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}


def accepted(port: int, *, wrapper: bool) -> list[str]:
    """The versions that a handshake comes to an end with."""
    return [version.label for version in TlsVersion if _handshake(port, version.label, wrapper=wrapper)]


def _handshake(port: int, version: str, *, wrapper: bool) -> bool:
    openssl = require("openssl", package="openssl")
    starttls = [] if wrapper else ["-starttls", "smtp", "-name", "client.example"]
    _, output = run(
        [
            openssl,
            "s_client",
            "-connect",
            f"127.0.0.1:{port}",
            _OPTIONS[version],
            "-cipher",
            "DEFAULT:@SECLEVEL=0",
            *starttls,
        ],
        input=b"QUIT\r\n",
    )
    found = re.search(r"^New, (\S+), Cipher is (\S+)$", output, re.MULTILINE)
    return found is not None and found[2] != "(NONE)"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_tlsproxy_accepts_the_versions_that_postfix_accepts(
    name: str, postfix: Postfix, ports: dict[str, int]
) -> None:
    theirs = postfix.ports[[*CONFIGURATIONS].index(name)]
    wrapper = "smtpd_tls_wrappermode" in CONFIGURATIONS[name]
    expected = accepted(theirs, wrapper=wrapper)
    assert accepted(ports[name], wrapper=wrapper) == expected
    if name == "default":
        assert expected == ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]


@pytest.mark.parametrize("name", VOID)
def test_where_a_list_turns_tls_off_in_postfix_our_default_holds(
    name: str, postfix: Postfix, ports: dict[str, int]
) -> None:
    theirs = postfix.ports[len(CONFIGURATIONS) + [*VOID].index(name)]
    assert accepted(theirs, wrapper=False) == []
    assert accepted(ports[name], wrapper=False) == ["TLSv1.2", "TLSv1.3"]
