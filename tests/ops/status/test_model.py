"""A status goes from process to process as JSON, and comes out as it went in."""

import json

import pytest
from cattrs.errors import BaseValidationError

from tests.ops.status.samples import PROCESS, SERVICE
from tlsproxy.ops.status.model import (
    Family,
    from_json,
    process_from_values,
    process_to_values,
    service_from_values,
    service_to_values,
    to_json,
)


def test_a_service_comes_back_as_it_was() -> None:
    assert from_json(to_json(SERVICE)) == SERVICE
    assert service_from_values(service_to_values(SERVICE)) == SERVICE


def test_a_process_comes_back_as_it_was() -> None:
    assert process_from_values(json.loads(json.dumps(process_to_values(PROCESS)))) == PROCESS


def test_json_is_one_line() -> None:
    assert "\n" not in to_json(SERVICE)


def test_what_is_no_status_is_refused() -> None:
    with pytest.raises(BaseValidationError):
        process_from_values({"pid": "many"})


@pytest.mark.parametrize(
    ("kind", "name"), [("counter", "tlsproxy_sessions_started_total"), ("gauge", "tlsproxy_sessions_started")]
)
def test_a_counter_is_read_as_total(kind: str, name: str) -> None:
    assert str(Family("tlsproxy_sessions_started", kind, "")) == name
