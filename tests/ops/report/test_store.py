"""The database: bounded, shared with readers, and nobody else's."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.ops.report.samples import CANDIDATE, LISTEN, NOW, count, row
from tlsproxy.errors import ReportError
from tlsproxy.ops.report import store as store_module
from tlsproxy.ops.report.entries import OTHER, SECONDS_IN_DAY, Entry, to_values
from tlsproxy.ops.report.store import FILE_MODE, MAX_NAMES, ReportReader, ReportStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], ReportStore]]:
    """Opens the database; closes it at the end."""
    stores = []

    def open_store() -> ReportStore:
        store = ReportStore(str(path), clock=lambda: NOW)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


Opened = Callable[[], ReportStore]


def entries(*found: Entry) -> list[Mapping[str, Any]]:
    return [to_values(each) for each in found]


def read(path: Path) -> ReportReader:
    return ReportReader(str(path))


def test_rows_and_counts_add_up(opened: Opened) -> None:
    store = opened()
    store.add(entries(row(first_seen=NOW - 9, last_seen=NOW - 9), count(sessions=10, refused=1)))
    store.add(entries(row(sessions=2, cipher="AES256-SHA"), row(helo=None), count(sessions=5, refused=2)))
    assert store.rows() == [
        row(sessions=3, cipher="AES256-SHA", first_seen=NOW - 9),
        row(helo=None),
    ]
    [summary] = store.summaries()
    assert (summary.sessions, summary.refused, summary.networks) == (15, 3, 1)


def test_all_is_there_after_a_restart(opened: Opened) -> None:
    store = opened()
    store.add(entries(row(server_name="mx.example.org"), count()))
    store.close()
    again = opened()
    assert again.rows() == [row(server_name="mx.example.org")]
    assert again.damaged is None
    again.add(entries(row(server_name="mx.example.org")))
    assert again.rows()[0].sessions == 2


def test_it_is_read_while_it_is_written(opened: Opened, path: Path) -> None:
    store = opened()
    store.add(entries(row()))
    reader = read(path)
    assert reader.rows() == [row()]
    store.add(entries(row()))
    assert reader.rows()[0].sessions == 2
    reader.close()


def test_it_is_read_after_the_writer_has_gone(opened: Opened, path: Path) -> None:
    store = opened()
    store.add(entries(row()))
    store.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name], "nothing is left beside it"
    reader = read(path)
    assert reader.rows() == [row()]
    reader.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name], "and reading leaves nothing"


def test_it_is_read_after_the_writer_was_killed(opened: Opened, path: Path, tmp_path: Path) -> None:
    opened().add(entries(row()))
    copy = tmp_path / "killed"
    copy.mkdir()
    for suffix in ("", "-wal"):
        (copy / f"report.db{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    reader = read(copy / "report.db")
    assert reader.rows() == [row()]
    reader.close()


def test_a_process_that_takes_over_writes_beside_the_one_that_drains(opened: Opened) -> None:
    draining, successor = opened(), opened()
    for _ in range(3):
        draining.add(entries(row()))
        successor.add(entries(row()))
    draining.close()
    successor.add(entries(row()))
    assert [each.sessions for each in successor.rows()] == [7]


def test_a_reader_writes_nothing(opened: Opened, path: Path) -> None:
    opened().add(entries(row()))
    reader = read(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM clients")
    reader.close()


def test_the_most_frequent_come_first_as_many_as_asked_for(opened: Opened) -> None:
    store = opened()
    store.add(entries(*(row(helo=f"host-{sessions}", sessions=sessions) for sessions in (2, 9, 5))))
    assert [each.sessions for each in store.rows()] == [9, 5, 2]
    assert [each.sessions for each in store.rows(limit=1)] == [9]


def test_what_was_not_seen_since_and_other_listens_can_be_left_out(opened: Opened) -> None:
    store = opened()
    old = NOW - 3 * SECONDS_IN_DAY
    elsewhere = "0.0.0.0:465"
    store.add(
        entries(
            row(helo="old", first_seen=old, last_seen=old, network="10.9.9.0/24"),
            count(day=int(old // SECONDS_IN_DAY), sessions=100),
            row(listen=elsewhere),
            count(listen=elsewhere),
            row(),
            count(),
        )
    )
    assert [each.helo for each in store.rows(since=NOW - 60, listen=LISTEN)] == ["scanner"]
    [summary] = store.summaries(since=NOW - 60, listen=LISTEN)
    assert (summary.sessions, summary.networks) == (1, 1)
    assert [each.listen for each in store.summaries()] == [LISTEN, elsewhere]
    assert [each.networks for each in store.summaries()] == [2, 1]


def test_clients_not_seen_for_the_longest_time_are_forgotten_first(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_ROWS", 3)
    store = opened()
    for number in range(5):
        store.add(entries(row(network=f"10.0.{number}.0/24", last_seen=NOW + number), count()))
    assert {each.network for each in store.rows()} == {"10.0.2.0/24", "10.0.3.0/24", "10.0.4.0/24"}
    [summary] = store.summaries()
    assert summary.refused == 5, "how many there were isn't forgotten"


def test_nothing_is_kept_for_ever(opened: Opened) -> None:
    store = opened()
    old = NOW - (store_module.KEEP_DAYS + 1) * SECONDS_IN_DAY
    store.add(entries(row(first_seen=old, last_seen=old), count(day=int(old // SECONDS_IN_DAY))))
    assert (store.rows(), store.summaries()) == ([], [])


def test_counts_are_bounded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_COUNTS", 2)
    store = opened()
    today = int(NOW // SECONDS_IN_DAY)
    store.add(entries(*(count(day=today - age) for age in range(5))))
    [summary] = store.summaries()
    assert (summary.first_day, summary.sessions) == (today - 1, 2)


def test_a_network_that_makes_up_names_has_no_other_client_forgotten(opened: Opened) -> None:
    store = opened()
    store.add(entries(row(), row(network="198.51.100.0/24", helo="honest")))
    for number in range(MAX_NAMES + 20):
        store.add(entries(row(helo=f"made-up-{number}")))
    rows = {(each.network, each.helo): each.sessions for each in store.rows()}
    assert len(rows) == MAX_NAMES + 2
    assert rows["10.3.7.0/24", OTHER] == 21
    store.add(entries(row(), row(network="198.51.100.0/24", helo="second")))
    again = {(each.network, each.helo): each.sessions for each in store.rows()}
    assert again["10.3.7.0/24", "scanner"] == 2, "one that was there is still told apart"
    assert again["198.51.100.0/24", "second"] == 1


def test_other_networks_have_one_row(opened: Opened) -> None:
    store = opened()
    store.add(entries(row().elsewhere, count()))
    store.add(entries(row().elsewhere, count()))
    assert [each.sessions for each in store.rows()] == [2]
    assert store.summaries()[0].networks == 0, "how many they are isn't known"


def test_forgetting_begins_anew(opened: Opened) -> None:
    store = opened()
    store.add(entries(row(), row(listen="0.0.0.0:465"), count(), count(listen="0.0.0.0:465")))
    assert store.forget(listen="0.0.0.0:465") == 1
    assert [each.listen for each in store.summaries()] == [LISTEN]
    assert store.forget() == 1
    assert (store.rows(), store.summaries()) == ([], [])


def test_entries_are_added_all_or_none(opened: Opened) -> None:
    store = opened()
    with pytest.raises(TypeError):
        store.add([to_values(row()), {"nonsense": 1}])
    assert store.rows() == []
    store.add(entries(row()))
    assert store.rows() == [row()]


def test_without_a_file_it_is_in_memory() -> None:
    store = ReportStore(clock=lambda: NOW)
    store.add(entries(row(), count()))
    assert store.rows() == [row()]
    store.close()


def test_its_group_may_read_it_and_nobody_else(opened: Opened, path: Path) -> None:
    previous = os.umask(0)
    try:
        opened().add(entries(row()))
    finally:
        os.umask(previous)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == FILE_MODE, file


def test_a_damaged_file_is_put_aside(opened: Opened, path: Path) -> None:
    path.write_bytes(b"this was never a database, but it is long enough to be taken for one" * 100)
    store = opened()
    assert store.damaged == f"{path}.damaged"
    assert Path(store.damaged).read_bytes().startswith(b"this was never")
    store.add(entries(row()))
    assert store.rows() == [row()]


def test_a_file_that_was_overwritten_in_part_is_put_aside(opened: Opened, path: Path) -> None:
    store = opened()
    store.add(entries(*(row(network=f"10.0.{number}.0/24") for number in range(200))))
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))
    assert opened().damaged == f"{path}.damaged"


def test_a_file_of_another_version_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()
    for open_database in (ReportStore, ReportReader):
        with pytest.raises(ReportError, match=r"report\.db: its version is 2, not 1"):
            open_database(str(path))
    assert path.read_bytes() == before


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(ReportError, match="symbolic link"):
        ReportStore(str(path))
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_nor_is_one_beside_it(path: Path, tmp_path: Path, suffix: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    Path(f"{path}{suffix}").symlink_to(victim)
    with pytest.raises(ReportError, match=rf"report\.db{suffix} isn't a regular file"):
        ReportStore(str(path))
    assert victim.read_text() == "precious"


def test_a_file_with_a_second_name_is_refused(path: Path, tmp_path: Path) -> None:
    path.touch()
    os.link(path, tmp_path / "second")
    with pytest.raises(ReportError, match="isn't a regular file with one name"):
        ReportStore(str(path))


def test_a_fifo_is_refused_at_once(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ReportError, match="isn't a regular file"):
        ReportStore(str(path))


def test_another_user_s_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ReportError, match=f"belongs to user {os.getuid()}, not to {os.getuid() + 1}"):
        ReportStore(str(path))


def test_a_directory_in_which_anybody_can_replace_it_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(ReportError, match=f"everybody may write to {path.parent}"):
        ReportStore(str(path))


@pytest.mark.parametrize("mode", [0o1777, 0o775])
def test_one_where_only_its_owner_can_is_not(path: Path, opened: Opened, mode: int) -> None:
    path.parent.chmod(mode)
    assert opened().rows() == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing/report.db", "No such file or directory"), ("", "Is a directory")],
)
def test_a_file_that_can_t_be_had_is_named_with_the_reason(tmp_path: Path, name: str, message: str) -> None:
    for open_database in (ReportStore, ReportReader):
        with pytest.raises(ReportError, match=message):
            open_database(str(tmp_path / name))


def test_a_name_with_marks_that_a_uri_gives_a_meaning_is_just_a_name(tmp_path: Path) -> None:
    path = tmp_path / "re?mode=memory&%41#port.db"
    store = ReportStore(str(path), clock=lambda: NOW)
    store.add(entries(row()))
    store.close()
    assert path.stat().st_size
    reader = read(path)
    assert reader.rows() == [row()]
    reader.close()


def test_reading_what_is_no_database_says_so(path: Path) -> None:
    path.write_text("not a database" * 100)
    with pytest.raises(ReportError, match="not a database"):
        read(path)


def test_a_full_database_is_told_and_works_again_when_there_is_room(opened: Opened) -> None:
    store = opened()
    store.add(entries(row(), count()))
    [pages] = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = entries(*(row(network=f"10.{number}.0.0/24", helo="h" * 250) for number in range(200)))
    with pytest.raises(ReportError, match="full"):
        store.add(many)
    assert store.rows() == [row()], "nothing of it was added"
    store._connection.execute("PRAGMA max_page_count = 100000")
    store.add(many)
    assert len(store.rows()) == 201


def test_candidates_are_told_apart(opened: Opened) -> None:
    store = opened()
    store.add(entries(count(), count(candidate="TLSv1.3")))
    assert [each.candidate for each in store.summaries()] == [CANDIDATE, "TLSv1.3"]
