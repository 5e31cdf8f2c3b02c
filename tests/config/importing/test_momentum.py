"""Momentum's configuration to ours. Some of the samples are those of Momentum's manual."""

import contextlib
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.config.importing.checking import checked
from tlsproxy.config.importing.momentum import MAX_FILES, import_momentum
from tlsproxy.config.importing.remarks import Imported, ImportFailed
from tlsproxy.config.resolve import Resolver
from tlsproxy.identity.client import normalized_address

WHOLE = """
hostname = "mta.example.org"
TLS_Certificate = "/opt/msys/ecelerity/etc/tls/mta.pem"
TLS_Key = "/opt/msys/ecelerity/etc/tls/mta.key"
tls = "ifavailable"                                # outbound
pathway "scanners" {
  TLS_Protocols = "+ALL:-SSLv3"
  TLS_Allow_Renegotiation = true
}
pathway_group "submitters" {
  idle_time = 400
  pathway "partners" {
    TLS_Verify_Mode = "require"
    TLS_Client_CA = "/opt/msys/ecelerity/etc/tls/partners.pem"
  }
}
ESMTP_Listener {
  TLS_Protocols = "+ALL:-SSLv3:-TLSv1.0:-TLSv1.1"
  TLS_Allow_Renegotiation = false
  Idle_Time = 60
  Peer "10.0.0.0/8" { Idle_Time = 300 }
  Listen ":25" {
    SMTP_Extensions = ( "ENHANCEDSTATUSCODES" "STARTTLS" )
    Peer "10.3.0.0/16" { pathway = "scanners" }
    Peer "192.0.2.7" { pathway = "partners" }
  }
  Listen "[*]:25" { SMTP_Extensions = ( "ENHANCEDSTATUSCODES" ) }
  Listen ":465" { Use_SSL = true }
  Listen ":587" { Enable = "false" }
}
HTTP_Listener { Listen ":2081" {} Listen ":2443" { use_ssl = true TLS_Protocols = "+TLSv1.3" } }
ECStream_Listener { Listen ":1825" { Use_SSL = true ECStream_Idle_Time = 300 } }
"""


def nothing_included(path: str, source: str) -> Sequence[tuple[str, str]]:
    raise FileNotFoundError(2, "No such file or directory", path)


def imported(text: str) -> Imported:
    return import_momentum(text, "ecelerity.conf", nothing_included)


def unwrapped(toml: str) -> str:
    """Comments on one line."""
    return re.sub(r"\n *# ", " ", toml)


def test_listeners_and_listens_are_carried_over_one_to_one() -> None:
    configuration, resolved = checked(imported(WHOLE))
    assert configuration.warnings == ()
    assert [
        (listener.kind, listener.backend, [str(each.address) for each in listener.listens])
        for listener in configuration.listeners
    ] == [
        ("esmtp", "momentum-esmtp", ["0.0.0.0:25", "[::]:25", "0.0.0.0:465"]),
        ("http", "momentum-http", ["0.0.0.0:2081", "0.0.0.0:2443"]),
        ("stream", "momentum-stream", ["0.0.0.0:1825"]),
    ]
    assert resolved["0.0.0.0:25"].tls_security_level.value == "may"
    assert resolved["[::]:25"].tls_security_level.value == "none"
    assert resolved["0.0.0.0:465"].tls_wrappermode
    assert resolved["0.0.0.0:2081"].tls_security_level.value == "none"
    assert resolved["0.0.0.0:2443"].tls_security_level.value == "may"
    assert resolved["0.0.0.0:2443"].tls_protocols.text == "TLSv1.3"
    assert resolved["0.0.0.0:1825"].idle_timeout == 300


def test_peers_and_pathways_are_carried_over_one_to_one() -> None:
    configuration, _ = checked(imported(WHOLE))
    listener = configuration.listeners[0]
    resolver = Resolver(configuration, listener, listener.listens[0])
    everybody, trusted, scanner, partner = (
        resolver.resolution_for(normalized_address(address)).settings
        for address in ("203.0.113.1", "10.1.0.1", "10.3.0.1", "192.0.2.7")
    )
    assert (everybody.idle_timeout, trusted.idle_timeout, partner.idle_timeout) == (60, 300, 400)
    assert (everybody.tls_protocols.text, scanner.tls_protocols.text) == (">=TLSv1.2", ">=TLSv1")
    assert [each.tls_allow_renegotiation for each in (everybody, scanner)] == [False, True]
    assert (partner.tls_verify_mode.value, partner.tls_client_ca) == (
        "require",
        "/opt/msys/ecelerity/etc/tls/partners.pem",
    )


def test_that_renegotiation_is_allowed_by_momentum_s_default_is_said() -> None:
    text = imported(WHOLE).toml
    assert "Momentum's default is true" in text
    assert "\ntls_allow_renegotiation = false\n" in text
    assert "Momentum's default is true" not in imported("tls_allow_renegotiation = false\n" + WHOLE).toml


def test_the_default_of_momentum_s_protocols_is_said() -> None:
    assert 'Momentum\'s default is "+ALL"' in imported(WHOLE).toml
    assert "+ALL" not in imported("tls_protocols = '+TLSv1.2'\n" + WHOLE).toml.partition("[pathway")[0]


SAMPLES = [
    """
    ESMTP_Listener {
      Listen ":25" {
        TLS_Certificate = "/path/to/cert.pem"
        TLS_Key = "/path/to/key.pem"
        TLS_Client_CA = "/path/to/clientca.bundle"
        TLS_Ciphers = "DEFAULT"
        TLS_Verify_Mode = "require"
        SMTP_Extensions = ( "ENHANCEDSTATUSCODES" "STARTTLS" )
      }
    }
    """,
    """
    ESMTP_Listener = {
      Listen ":465" {
        Use_SSL = true
        TLS_Certificate = "/path/to/cert.pem"
        TLS_Key = "/path/to/key.pem"
        TLS_Client_CA = "/path/to/clientca.bundle"
        TLS_Ciphers = "DEFAULT"
      }
    }
    """,
    """
    ESMTP_Listener {
      Listen ":25" {
          Listen_Backlog = 500       # new default, can be set > 200 now
          TCP_Recv_Buffer_Size = 4096
          Disable_Nagle_Algorithm = false
      }
      Listen ":587" {
          Enable = "false"
          Pool_Name = "accept-pool"
      }
      # serve inbound SMTP on port 25 in IPv6
      #Listen "[::1]:25" {}
    }
    ThreadPool accept-pool {
      Concurrency = 4
    }
    """,
    """
    ESMTP_Listener {
      Listener_Sessions = 1800   # ceiling for this listener
      Idle_Time = 60
      Peer "10.0.0.0/8" {        # trusted senders: larger budget
        Listener_Sessions = 1500
        Idle_Time = 300
      }
      Peer "0.0.0.0/0" {         # everyone else: tighter cap, faster reaping
        Listener_Sessions = 600
        Idle_Time = 30
      }
      Listen ":25" {
        Listener_Sessions = 1800
        Idle_Time = 60
      }
    }
    """,
    """
    ESMTP_Listener {
      Listen "10.0.0.5:25" {
        Proxy_Protocol = true
        Proxy_Protocol_Timeout = 30
      }
      # direct submission, no header expected
      Listen "127.0.0.1:587" {}
    }
    """,
    """
    ESMTP_Listener {
       Listen "*:25" {
          Peer "0.0.0.0/0" {
             context = [
               my_key = "my_value"
               my_other_key = "my_other_value"
             ]
          }
          Peer "10.0.0.0/32" {
             context = [
                trusted_mx = "yes"
             ]
          }
       }
    }
    """,
    """
    HTTP_Listener {
      Listen ":2081" {}
    }
    """,
    WHOLE,
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_of_the_manual_come_to_valid_configurations(sample: str) -> None:
    checked(imported(sample))


def test_the_manual_s_listener_with_client_certificates_keeps_them() -> None:
    _, resolved = checked(imported(SAMPLES[0]))
    assert resolved["0.0.0.0:25"].tls_verify_mode.value == "require"
    assert resolved["0.0.0.0:25"].tls_client_ca == "/path/to/clientca.bundle"


def test_a_listen_without_a_certificate_has_no_tls() -> None:
    _, resolved = checked(imported(SAMPLES[2]))
    assert resolved["0.0.0.0:25"].tls_security_level.value == "none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SAMPLES[4], "Name the networks of the balancers"),
        ("ESMTP_Listener { Listen ':25' {} Listen '10.0.0.5:25' {} }", "is part of 0.0.0.0:25"),
        ("ESMTP_Listener { Listen ':25' {} Listen '*:25' {} }", "is listened on already"),
        ("ESMTP_Listener { Listen ':25' {} Listen 'mx:25' {} }", "must have an IP address"),
        (
            "ESMTP_Listener { Listen ':25' {} Listen ':465' { use_ssl = true } }",
            "no TLS_Certificate in force",
        ),
        ("ESMTP_Listener { Listen ':25' { pathway = x } }", "there is no pathway of this name"),
        ("ESMTP_Listener { Listen ':25' { peer x { use_ssl = true } } }", "is no network in CIDR notation"),
        (
            "ESMTP_Listener { Listen ':25' { tls_verify_mode = require } }",
            "NO client certificate is demanded",
        ),
        (
            "ESMTP_Listener { Listen ':25' {} } ECStream_Listener { Listen ':1825' {} }",
            "is ECStream in plaintext",
        ),
        ("ESMTP_Listener { Listen ':25' {} } XMPP_Listener { Listen ':5222' {} }", "no listener for XMPP"),
        ("ESMTP_Listener { Listen ':25' {} } include 'x.conf'", "can't be read: No such file"),
        ("ESMTP_Listener { Listen ':25' {} } tls_engine = gnutls", "the TLS library here is OpenSSL"),
        (
            "pathway a {} pathway_group g { pathway a {} } ESMTP_Listener { Listen ':25' { pathway = a } }",
            "is in a pathway_group as well",
        ),
        (
            "ESMTP_Listener { Proxy_Protocol = true Proxy_Protocol_Timeout = 90 Listen ':25' {} }",
            "from 0.1 to 60 seconds",
        ),
    ],
)
def test_what_is_not_carried_over_is_told(text: str, message: str) -> None:
    result = imported(text)
    checked(result)
    assert not result.complete
    assert any(message in str(remark) for remark in result.remarks)
    assert message in unwrapped(result.toml)


def test_scopes_of_the_same_name_are_one() -> None:
    text = (
        "ESMTP_Listener { Listen ':25' { idle_time = 5 } } esmtp_listener { Listen ':25' { idle_time = 7 } }"
    )
    configuration, resolved = checked(imported(text))
    assert len(configuration.listeners) == 1
    assert resolved["0.0.0.0:25"].idle_timeout == 7


def test_included_files_stand_where_they_are_included() -> None:
    files = {"b.conf": "Idle_Time = 5\ninclude c.conf", "c.conf": "Listen ':25' {}\ninclude b.conf"}
    result = import_momentum(
        "ESMTP_Listener { Idle_Time = 7\ninclude b.conf }",
        "a.conf",
        lambda path, _: [(path, files[path])],
    )
    _, resolved = checked(result)
    assert resolved["0.0.0.0:25"].idle_timeout == 5
    assert [str(remark) for remark in result.remarks if "itself" in remark.message] == [
        'include "b.conf" (c.conf line 2): includes itself'
    ]


def test_there_is_a_limit_to_included_files() -> None:
    def read(path: str, source: str) -> Sequence[tuple[str, str]]:
        return [(f"{path}{number}", "") for number in range(150)]

    result = import_momentum("ESMTP_Listener { Listen ':25' {} } include a include b", "f", read)
    assert any(f"more than {MAX_FILES} files" in remark.message for remark in result.remarks)


def test_the_servers_can_be_given() -> None:
    result = import_momentum(WHOLE, "f", nothing_included, servers={"esmtp": ["10.0.0.5:25", "10.0.0.5:25"]})
    configuration, _ = checked(result)
    assert [*map(str, configuration.backends["momentum-esmtp"].servers)] == ["10.0.0.5:25"]


def test_a_port_for_momentum_is_none_that_clients_come_to() -> None:
    configuration, _ = checked(imported("ESMTP_Listener { Listen '127.0.0.1:2525' {} }"))
    assert [*map(str, configuration.backends["momentum-esmtp"].servers)] == ["127.0.0.1:2526"]


@pytest.mark.parametrize(
    "text", ["", "a = b", "ESMTP_Listener {}", "ESMTP_Listener { Listen ':25' { enable = false } }", "{"]
)
def test_without_a_listener_there_is_no_result(text: str) -> None:
    with pytest.raises(ImportFailed):
        imported(text)


def test_any_beginning_of_a_file_comes_to_a_valid_configuration_or_none() -> None:
    for end in range(len(WHOLE) + 1):
        with contextlib.suppress(ImportFailed):
            checked(imported(WHOLE[:end]))


OPTIONS = """
tls_protocols=+ALL tls_protocols=+TLSv1.3 tls_protocols=x tls_ciphers=DEFAULT tls_ciphers=NORMAL tls_certificate=/c
tls_certificate=none tls_key=/k tls_client_ca=/ca tls_verify_mode=require tls_verify_mode=none use_ssl=true use_ssl=false
smtp_extensions=(STARTTLS) smtp_extensions=() pathway=a pathway=b starttls_injection_policy=allow idle_time=0 idle_time=9
tls_allow_renegotiation=true proxy_protocol=true proxy_protocol_timeout=0 enable=false listener_sessions=5
tlsv13_ciphersuites=x hostname=a.b hostname=%"""
OPTION = st.sampled_from(OPTIONS.split())
PEER = st.builds(
    lambda label, options: f'Peer "{label}" {{ {" ".join(options)} }}',
    st.sampled_from(["10.0.0.0/8", "10.0.0.1/8", "0.0.0.0/0", "::/0", "x", "192.0.2.1"]),
    st.lists(OPTION, max_size=3),
)
LISTEN = st.builds(
    lambda label, body: f'Listen "{label}" {{ {" ".join(body)} }}',
    st.sampled_from([":25", "*:465", "[*]:25", "127.0.0.1:25", "/run/x", ":x", "[::1]:25", ":2525"]),
    st.lists(OPTION | PEER, max_size=4),
)
LISTENER = st.builds(
    lambda name, body: f"{name} {{ {' '.join(body)} }}",
    st.sampled_from(["ESMTP_Listener", "HTTP_Listener", "ECStream_Listener"]),
    st.lists(OPTION | PEER | LISTEN, max_size=5),
)
PATHWAY = st.builds(
    lambda label, body: f"pathway {label} {{ {' '.join(body)} }}",
    st.sampled_from("ab"),
    st.lists(OPTION, max_size=3),
)
GROUP = st.builds(
    lambda body: f"pathway_group g {{ {' '.join(body)} }}", st.lists(OPTION | PATHWAY, max_size=3)
)


@example(["tls_verify_mode=require", 'ESMTP_Listener { Listen ":25" { } }'])
@given(st.lists(OPTION | PATHWAY | GROUP | LISTENER, max_size=6))
def test_whatever_is_configured_the_result_is_valid(parts: list[str]) -> None:
    with contextlib.suppress(ImportFailed):
        checked(imported("\n".join(parts)))
