"""KeyUpdate messages made by hand. That servers take them is shown in ``test_visitor.py``."""

import pytest

from tlsproxy.tls.outside.key_updates import SUITES, KeyUpdater


@pytest.mark.parametrize("suite", SUITES.split(":"))
def test_each_record_has_keys_of_its_own(suite: str) -> None:
    size = 48 if suite.endswith("384") else 32
    updater = KeyUpdater(suite, b"s" * size)
    records = [updater.key_update(requested=False) for _ in range(3)]
    assert len(set(records)) == 3
    assert {(record[:5], len(record)) for record in records} == {(b"\x17\x03\x03\x00\x16", 27)}


def test_records_under_one_key_are_counted() -> None:
    updater = KeyUpdater("TLS_AES_128_GCM_SHA256", b"s" * 32)
    assert updater.record(23, b"x") != updater.record(23, b"x")
