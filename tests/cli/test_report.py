"""``tlsproxy report``: who would be refused, as a table and as JSON."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ops.report.samples import CANDIDATE, LISTEN, count, row
from tlsproxy.cli.main import main
from tlsproxy.ops.report.entries import SECONDS_IN_DAY, Entry, to_values
from tlsproxy.ops.report.store import ReportReader, ReportStore

TODAY = int(time.time() // SECONDS_IN_DAY)
NOW = TODAY * SECONDS_IN_DAY + 3600.0
"""Early today: what was seen then isn't too old to be kept."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "report.db"


Remember = Callable[..., None]


@pytest.fixture
def remember(database: Path) -> Remember:
    def add(*entries: Entry) -> None:
        store = ReportStore(str(database))
        store.add([to_values(entry) for entry in entries])
        store.close()

    return add


def seen(**values: Any) -> Entry:
    return row(**{"first_seen": NOW, "last_seen": NOW} | values)


def counted(**values: Any) -> Entry:
    return count(**{"day": TODAY} | values)


@pytest.fixture
def remembered(remember: Remember) -> None:
    remember(
        seen(sessions=30, helo="scanner-3", first_seen=NOW - 5 * SECONDS_IN_DAY),
        seen(
            sessions=2, network="2001:db8:7::/48", helo=None, version="TLSv1.1", server_name="mx.example.org"
        ),
        counted(sessions=30, refused=30),
        counted(version="TLSv1.1", sessions=3, refused=2),
        counted(version="TLSv1.3", sessions=967, refused=0),
    )


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("remembered")
def test_a_summary_stands_above_the_table(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(database)]) == 1
    day = time.strftime("%Y-%m-%d", time.gmtime(NOW))
    first = time.strftime("%Y-%m-%d", time.gmtime(NOW - 5 * SECONDS_IN_DAY))
    assert lines(capsys) == [
        "0.0.0.0:25, if only TLSv1.2 TLSv1.3 were allowed:",
        f"  32 of 1000 TLS sessions since {day} would be refused (3.2 %): 30 with TLSv1, 2 with TLSv1.1",
        "  they came from 2 networks",
        "",
        "network          helo       server name     version  offered  cipher      sessions  first seen  last seen",
        f"10.3.7.0/24      scanner-3  -               TLSv1    <=TLSv1  AES128-SHA        30  {first}  {day} 01:00",
        f"2001:db8:7::/48  -          mx.example.org  TLSv1.1  <=TLSv1  AES128-SHA         2  {day}  {day} 01:00",
    ]


@pytest.mark.usefixtures("remembered")
def test_json_has_everything(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(database), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW))
    assert (report["database"], report["since"]) == (str(database), None)
    assert report["candidates"] == [
        {
            "listen": LISTEN,
            "candidate": CANDIDATE,
            "sessions": 1000,
            "refused": 32,
            "refused_versions": {"TLSv1": 30, "TLSv1.1": 2},
            "networks": 2,
            "first_day": moment[:10],
            "share": 0.032,
        }
    ]
    assert report["clients"][1] == {
        "listen": LISTEN,
        "candidate": CANDIDATE,
        "network": "2001:db8:7::/48",
        "version": "TLSv1.1",
        "helo": None,
        "server_name": "mx.example.org",
        "offered": "<=TLSv1",
        "cipher": "AES128-SHA",
        "sessions": 2,
        "first_seen": moment,
        "last_seen": moment,
    }


def test_nobody_to_be_refused_is_success(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str]
) -> None:
    remember(counted(version="TLSv1.3", sessions=1, refused=0))
    assert main(["report", str(database)]) == 0
    day = time.strftime("%Y-%m-%d", time.gmtime(NOW))
    assert lines(capsys)[1:] == [f"  nobody would be refused, of 1 TLS session since {day}"]


def test_nobody_seen_is_no_success(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str]
) -> None:
    remember()
    assert main(["report", str(database)]) == 3
    assert lines(capsys) == [
        "no session was looked at: is tls_protocols_report set, and has anybody connected?"
    ]


@pytest.mark.parametrize(
    ("refused", "share"), [(1, "less than 0.1 %"), (100_000, "100 %"), (99_999, "99.9 %"), (50_000, "50.0 %")]
)
def test_shares_are_not_rounded_to_none_or_all(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str], refused: int, share: str
) -> None:
    remember(counted(sessions=100_000, refused=refused))
    main(["report", str(database)])
    assert f"({share})" in lines(capsys)[1]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("sessions", ["b", "c", "a"]),
        ("last", ["c", "a", "b"]),
        ("first", ["a", "c", "b"]),
        ("network", ["c", "a", "b"]),
        ("helo", ["a", "b", "c"]),
        ("version", ["b", "a", "c"]),
    ],
)
def test_rows_can_be_sorted(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str], order: str, expected: list[str]
) -> None:
    remember(
        seen(helo="a", network="10.2.0.0/24", sessions=1, first_seen=NOW - 30, last_seen=NOW - 1),
        seen(helo="b", network="10.3.0.0/24", sessions=9, first_seen=NOW - 10, last_seen=NOW - 2),
        seen(helo="c", network="10.1.0.0/24", sessions=5, first_seen=NOW - 20, version="TLSv1.1"),
        counted(),
    )
    main(["report", str(database), "--json", "--sort", order])
    assert [each["helo"] for each in json.loads(capsys.readouterr().out)["clients"]] == expected


def test_each_listen_and_candidate_has_its_own_table(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str]
) -> None:
    remember(seen(), counted(), seen(listen="0.0.0.0:465", helo="fax"), counted(listen="0.0.0.0:465"))
    assert main(["report", str(database)]) == 1
    text = lines(capsys)
    assert [line for line in text if "were allowed" in line] == [
        "0.0.0.0:25, if only TLSv1.2 TLSv1.3 were allowed:",
        "0.0.0.0:465, if only TLSv1.2 TLSv1.3 were allowed:",
    ]
    assert sum("fax" in line for line in text) == 1
    main(["report", str(database), "--listen", "0.0.0.0:465"])
    assert lines(capsys)[0] == "0.0.0.0:465, if only TLSv1.2 TLSv1.3 were allowed:"


@pytest.mark.parametrize("since", ["3d", "72h", "1w"])
def test_what_was_not_seen_since_is_left_out(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str], since: str
) -> None:
    old = NOW - 20 * SECONDS_IN_DAY
    remember(
        seen(helo="retired", first_seen=old, last_seen=old),
        counted(day=TODAY - 20, sessions=50, refused=50),
        counted(version="TLSv1.3", sessions=10, refused=0),
    )
    assert main(["report", str(database)]) == 1
    assert "retired" in capsys.readouterr().out
    assert main(["report", str(database), "--since", since]) == 0
    assert "nobody would be refused, of 10 TLS sessions" in capsys.readouterr().out


def test_since_takes_a_date(database: Path, remember: Remember, capsys: pytest.CaptureFixture[str]) -> None:
    remember(seen(), counted())
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(NOW + SECONDS_IN_DAY))
    assert main(["report", str(database), "--since", tomorrow]) == 3
    assert lines(capsys)[0].startswith(f"no session was looked at since {tomorrow} 00:00: ")
    assert main(["report", str(database), "--since", "2026-11-01T12:00:00+01:00"]) == 1


@pytest.mark.parametrize("since", ["yesterday", "7", "0d", "7y", "2026-13-01", "\x1b[2J"])
def test_any_other_time_is_refused_with_what_is_valid(
    database: Path, capsys: pytest.CaptureFixture[str], since: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(database), "--since", since])
    error = capsys.readouterr().err
    assert "must be an age such as 12h or 7d, or a date such as 2026-11-01" in error
    assert "\x1b" not in error


def test_a_session_that_began_before_the_day_is_shown_without_a_summary(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str]
) -> None:
    remember(seen(helo="overnight"), counted(day=TODAY - 1))
    date = time.strftime("%Y-%m-%d", time.gmtime(NOW))
    assert main(["report", str(database), "--since", date]) == 1
    heading, _, _, line = lines(capsys)
    assert heading == "0.0.0.0:25, if only TLSv1.2 TLSv1.3 were allowed:"
    assert "overnight" in line


def test_whatever_clients_call_themselves_the_table_is_bounded_and_harmless(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str]
) -> None:
    remember(
        seen(
            helo="\x1b]0;pwned\x07" + "x" * 300,
            server_name="\u202e" * 250,
            network="10.0.0.0/24",
            offered="y" * 99,
        ),
        seen(network="2001:db8:1234:5678:9abc:def0:1234:5678/128"),
        counted(),
    )
    main(["report", str(database)])
    text = lines(capsys)
    assert all(line.isprintable() for line in text)
    assert max(map(len, text)) <= 190
    assert any("\\x1b]0;pwned\\x07xxxx" in line and "…" in line for line in text)


def test_it_is_read_while_the_service_writes_it(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ReportStore(str(database))
    store.add([to_values(seen()), to_values(counted())])
    assert main(["report", str(database)]) == 1
    assert "scanner" in capsys.readouterr().out
    store.add([to_values(seen(helo="fax"))])
    assert main(["report", str(database)]) == 1
    assert "fax" in capsys.readouterr().out
    store.close()


CONFIG = """
{setting}
tls_certificate = "a.pem"
[backend.mail]
servers = ["127.0.0.1:2525"]
[[stream_listener]]
backend = "mail"
  [[stream_listener.listen]]
  address = "127.0.0.1:0"
"""


@pytest.mark.usefixtures("remembered")
def test_the_configuration_tells_where_it_is(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tlsproxy.toml"
    config.write_text(CONFIG.format(setting='report_database = "report.db"'))
    assert main(["report", "--config", str(config)]) == 1
    assert "scanner-3" in capsys.readouterr().out
    config.write_text(CONFIG.format(setting=""))
    assert main(["report", "--config", str(config)]) == 3
    assert f"error: {config} sets no report_database: " in capsys.readouterr().err
    config.write_text(CONFIG.format(setting='report_databse = "report.db"'))
    assert main(["report", "--config", str(config)]) == 3
    assert "report_database" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["report.db", "--config", "tlsproxy.toml"], ["a", "--forget", "--since", "7d"]]
)
def test_a_command_line_that_makes_no_sense_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("more", [[], ["--forget"]])
def test_a_file_that_is_not_there_is_not_made(
    database: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert main(["report", str(database), *more]) == 3
    assert capsys.readouterr().err == f"error: {database}: No such file or directory\n"
    assert not database.exists()


def test_a_file_that_is_something_else_is_told(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database.write_text("something else" * 100)
    assert main(["report", str(database)]) == 3
    assert capsys.readouterr().err == f"error: {database}: file is not a database\n"


def test_forgetting_begins_anew(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str]
) -> None:
    remember(seen(), counted(), seen(listen="0.0.0.0:465"), counted(listen="0.0.0.0:465"))
    assert main(["report", str(database), "--forget", "--listen", "0.0.0.0:465"]) == 0
    assert lines(capsys) == [f"{database}: 1 row forgotten"]
    assert main(["report", str(database)]) == 1
    assert main(["report", str(database), "--forget"]) == 0
    assert main(["report", str(database)]) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_root_forgets_as_the_service_s_user(
    database: Path, remember: Remember, capsys: pytest.CaptureFixture[str]
) -> None:
    remember(seen(), counted())
    nobody = 65534
    os.chown(database, nobody, nobody)
    database.parent.chmod(0o1777)
    directories = [each for each in database.parents if not each.stat().st_mode & 0o001]
    modes = {each: each.stat().st_mode for each in directories}
    for directory in directories:
        directory.chmod(modes[directory] | 0o011)
    try:
        assert main(["report", str(database), "--forget"]) == 0
        assert os.geteuid() == nobody
    finally:
        os.seteuid(0)
        os.setegid(0)
        for directory in directories:
            directory.chmod(modes[directory])
    assert lines(capsys) == [f"{database}: 1 row forgotten"]
    reader = ReportReader(str(database))
    assert reader.rows() == []
    reader.close()
