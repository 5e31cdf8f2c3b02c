"""Figures follow from notes alone, and no client can make their number grow."""

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from tests.ops.notes import NOTE_KINDS, sample
from tlsproxy.notes import (
    BackendFailed,
    BackendFull,
    BackendReached,
    BackendServerDown,
    BackendServerUp,
    ConfigurationRefused,
    ConfigurationWarned,
    ControlRefused,
    DescriptorsScarce,
    DrainStarted,
    FrontReported,
    KeyUpdateLimitHit,
    LimitHit,
    ListenOpened,
    Note,
    Reloaded,
    ReloadRefused,
    RenegotiationAttempted,
    ReportFailed,
    ServiceStarted,
    ServiceStopped,
    SessionEnded,
    SessionFault,
    SessionStarted,
    SocketsHandedOver,
    TlsEstablished,
    TlsRefused,
    WorkerDied,
    WorkerEnded,
    WorkersLost,
    WorkerStarted,
    WorkerStuck,
    WouldBeRefused,
)
from tlsproxy.ops import metrics as metrics_module
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.status.model import BackendStatus, ServerStatus

LISTEN = "0.0.0.0:465"
NOT_COUNTED = {
    ListenOpened,
    ServiceStopped,
    DrainStarted,
    SocketsHandedOver,
    Reloaded,
    ReloadRefused,
    ConfigurationRefused,
    WouldBeRefused,
    BackendServerUp,
    WorkerStarted,
    WorkerEnded,
    WorkerDied,
    WorkerStuck,
    WorkersLost,
}
"""The last takes back what another one counted; the one before it tells more of what another one counted."""
"""Some come once in a process's life, at its ends; reloads and workers are told by the service's status."""


def note(kind: type[Note], /, **values: Any) -> Note:
    names = {attribute.name for attribute in attrs.fields(kind)}
    common = {"listen": LISTEN} if "listen" in names else {}
    return sample(kind, **common | values)


def figures(metrics: Metrics) -> dict[str, float]:
    """What a note changed: everything of ours that isn't zero, ``name{label=value}``."""
    found = {}
    for family in metrics.registry.collect():
        for each in family.samples:
            if each.name.startswith("tlsproxy_") and each.value:
                labels = ",".join(f"{name}={value}" for name, value in each.labels.items())
                found[f"{each.name}{{{labels}}}"] = each.value
    return found


def counted(*notes: Note) -> dict[str, float]:
    metrics = Metrics()
    for each in notes:
        metrics.take(each)
    return figures(metrics)


def test_a_session_that_started_is_counted_and_live() -> None:
    assert counted(note(SessionStarted, kind="stream")) == {
        "tlsproxy_sessions_started_total{listen=0.0.0.0:465,kind=stream}": 1,
        "tlsproxy_sessions{listen=0.0.0.0:465}": 1,
    }


def test_a_session_that_ended_is_no_longer_live_and_leaves_reason_duration_and_bytes() -> None:
    ended = note(
        SessionEnded,
        kind="stream",
        reason="client_closed",
        duration=0.3,
        bytes_from_client=10,
        bytes_to_client=20,
    )
    found = counted(note(SessionStarted, kind="stream"), ended)
    buckets = {name for name in found if "_bucket{" in name}
    assert buckets == {
        f"tlsproxy_session_duration_seconds_bucket{{listen=0.0.0.0:465,le={bound}}}"
        for bound in ("0.5", "1.0", "5.0", "10.0", "30.0", "60.0", "300.0", "1800.0", "3600.0", "+Inf")
    }
    assert {name: value for name, value in found.items() if name not in buckets} == {
        "tlsproxy_sessions_started_total{listen=0.0.0.0:465,kind=stream}": 1,
        "tlsproxy_sessions_ended_total{listen=0.0.0.0:465,reason=client_closed}": 1,
        "tlsproxy_session_duration_seconds_count{listen=0.0.0.0:465}": 1,
        "tlsproxy_session_duration_seconds_sum{listen=0.0.0.0:465}": 0.3,
        "tlsproxy_client_bytes_total{listen=0.0.0.0:465,direction=from_client}": 10,
        "tlsproxy_client_bytes_total{listen=0.0.0.0:465,direction=to_client}": 20,
    }


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        (
            note(
                TlsEstablished, version="TLSv1.3", cipher="AES", group="X25519", resumed=False, candidate=None
            ),
            {
                "tlsproxy_handshakes_total{listen=0.0.0.0:465,version=TLSv1.3,cipher=AES,group=X25519}": 1,
                "tlsproxy_handshakes_by_server_name_total{listen=0.0.0.0:465,server_name=known}": 1,
            },
        ),
        (
            note(
                TlsEstablished,
                version="TLSv1",
                cipher="AES128-SHA",
                group=None,
                resumed=True,
                server_name_known=None,
                candidate=None,
            ),
            {
                "tlsproxy_handshakes_total{listen=0.0.0.0:465,version=TLSv1,cipher=AES128-SHA,group=none}": 1,
                "tlsproxy_handshakes_resumed_total{listen=0.0.0.0:465}": 1,
                "tlsproxy_handshakes_by_server_name_total{listen=0.0.0.0:465,server_name=none}": 1,
            },
        ),
        (note(ControlRefused), {"tlsproxy_control_refused_total{}": 1}),
        (
            note(TlsRefused, reason="handshake_failed"),
            {"tlsproxy_tls_refused_total{listen=0.0.0.0:465,reason=handshake_failed}": 1},
        ),
        (
            note(RenegotiationAttempted, leg="client", outcome="closed"),
            {
                "tlsproxy_renegotiation_attempts_total{listen=0.0.0.0:465,leg=client,outcome=closed}": 1,
            },
        ),
        (
            note(KeyUpdateLimitHit, leg="client"),
            {"tlsproxy_key_update_limit_hits_total{listen=0.0.0.0:465,leg=client}": 1},
        ),
        (
            note(BackendFailed, backend="old-mta", server="127.0.0.1:2525"),
            {"tlsproxy_backend_failures_total{backend=old-mta,server=127.0.0.1:2525}": 1},
        ),
        (
            note(BackendReached, backend="old-mta", server="127.0.0.1:2525", reused=True),
            {
                "tlsproxy_backend_connections_used_total{backend=old-mta,server=127.0.0.1:2525,connection=kept}": 1,
            },
        ),
        (note(BackendFull, backend="old-mta"), {"tlsproxy_backend_full_total{backend=old-mta}": 1}),
        (
            note(BackendServerDown, backend="old-mta", server="127.0.0.1:2525"),
            {
                "tlsproxy_backend_server_outages_total{backend=old-mta,server=127.0.0.1:2525}": 1,
                "tlsproxy_backend_server_down{backend=old-mta,server=127.0.0.1:2525}": 1,
            },
        ),
        (
            note(FrontReported, what="smuggling"),
            {"tlsproxy_front_reports_total{listen=0.0.0.0:465,what=smuggling}": 1},
        ),
        (
            note(ReportFailed),
            {"tlsproxy_report_failures_total{}": 1},
        ),
        (
            note(LimitHit, limit="max_sessions"),
            {"tlsproxy_limit_hits_total{listen=0.0.0.0:465,limit=max_sessions}": 1},
        ),
        (note(DescriptorsScarce), {"tlsproxy_descriptor_shortages_total{}": 1}),
        (note(SessionFault), {"tlsproxy_session_faults_total{listen=0.0.0.0:465}": 1}),
        (note(ConfigurationWarned), {"tlsproxy_configuration_warnings_total{}": 1}),
        (
            note(ServiceStarted, version="0.1.0", tls_library="OpenSSL 4.0.3"),
            {"tlsproxy_build_info{version=0.1.0,tls_library=OpenSSL 4.0.3}": 1},
        ),
        (note(ListenOpened), {}),
        (note(ServiceStopped), {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Note) else "",
)
def test_a_note_is_counted_under_its_labels(happened: Note, expected: dict[str, float]) -> None:
    assert counted(happened) == expected


@pytest.mark.parametrize("kind", NOTE_KINDS, ids=lambda kind: kind.event)
def test_every_note_is_counted_or_known_not_to_be(kind: type[Note]) -> None:
    assert bool(counted(note(kind))) == (kind not in NOT_COUNTED)


def test_a_server_that_is_back_is_not_down() -> None:
    server = {"backend": "old-mta", "server": "127.0.0.1:2525"}
    figure = "tlsproxy_backend_server_down{backend=old-mta,server=127.0.0.1:2525}"
    metrics = Metrics()
    values = []
    for kind in (BackendServerDown, BackendServerUp):
        metrics.take(note(kind, **server))
        values.append(figures(metrics).get(figure, 0))
    assert values == [1, 0]


@pytest.mark.parametrize(("refused", "verdict"), [(True, "refused"), (False, "allowed")])
def test_what_a_candidate_would_do_is_counted_by_version(refused: bool, verdict: str) -> None:
    found = counted(note(TlsEstablished, version="TLSv1", candidate="TLSv1.3", would_be_refused=refused))
    series = f"tlsproxy_candidate_sessions_total{{listen=0.0.0.0:465,version=TLSv1,verdict={verdict}}}"
    assert [(name, value) for name, value in found.items() if "candidate" in name] == [(series, 1)]


def test_a_connection_that_was_opened_leaves_how_long_it_took() -> None:
    reached = note(BackendReached, backend="old-mta", server="127.0.0.1:2525", duration=2.0, reused=False)
    found = counted(reached)
    labels = "backend=old-mta,server=127.0.0.1:2525"
    assert found[f"tlsproxy_backend_connections_used_total{{{labels},connection=opened}}"] == 1
    assert found[f"tlsproxy_backend_connect_seconds_sum{{{labels}}}"] == 2.0
    assert next(name for name in found if "_bucket{" in name).endswith(",le=2.5}")


def test_the_state_of_backends_is_told_and_forgotten_with_them() -> None:
    server = ServerStatus(address="127.0.0.1:2525", standing="ejected", busy=3, idle=2, pending=1)
    backend = BackendStatus(name="old-mta", policy="failover", checked=False, waiting=4, servers=(server,))
    metrics = Metrics()
    metrics.set_backends([backend])
    connections = "tlsproxy_backend_connections{backend=old-mta,server=127.0.0.1:2525,state="
    assert figures(metrics) == {
        "tlsproxy_backend_server_down{backend=old-mta,server=127.0.0.1:2525}": 1,
        f"{connections}busy}}": 3,
        f"{connections}idle}}": 2,
        f"{connections}pending}}": 1,
        "tlsproxy_backend_waiting_clients{backend=old-mta}": 4,
    }
    metrics.set_backends([])
    assert figures(metrics) == {}


@pytest.mark.parametrize(("standing", "down"), [("up", 0), ("returning", 0), ("ejected", 1), ("down", 1)])
def test_a_server_is_down_that_gets_no_sessions(standing: str, down: float) -> None:
    servers = (ServerStatus(address="a", standing=standing),)
    metrics = Metrics()
    metrics.set_backends([BackendStatus(name="b", policy="failover", checked=False, servers=servers)])
    assert figures(metrics).get("tlsproxy_backend_server_down{backend=b,server=a}", 0) == down


def test_notes_of_one_kind_add_up() -> None:
    refused = note(TlsRefused, reason="handshake_failed")
    assert list(counted(refused, refused, refused).values()) == [3]


def test_instances_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.take(note(SessionFault))
    assert figures(other) == {}


def test_a_log_line_lost_is_counted() -> None:
    metrics = Metrics()
    metrics.log_line_lost()
    assert figures(metrics) == {"tlsproxy_log_lines_lost_total{}": 1}


def test_certificates_tell_when_they_end_and_are_forgotten_when_gone() -> None:
    metrics = Metrics()
    end = datetime(2027, 1, 1, tzinfo=UTC)
    name = "tlsproxy_certificate_expiry_timestamp_seconds"
    metrics.set_certificates({"/etc/a.pem": end, "/etc/b.pem": end})
    metrics.set_certificates({"/etc/b.pem": end})
    assert figures(metrics) == {f"{name}{{certificate=/etc/b.pem}}": end.timestamp()}


def test_label_values_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "MAX_SERIES", 3)
    found = counted(*(note(TlsRefused, reason=f"made_up_{number}") for number in range(10)))
    assert len(found) == 4
    assert found["tlsproxy_tls_refused_total{listen=other,reason=other}"] == 7


def test_no_series_tells_when_it_was_made() -> None:
    metrics = Metrics()
    metrics.take(note(SessionStarted))
    assert not any(name.partition("{")[0].endswith("_created") for name in figures(metrics))
