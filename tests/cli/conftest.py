"""What tests of the command line share."""

import pytest

from tlsproxy.cli.server_probe import attempts


@pytest.fixture(autouse=True)
def hurried_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers on this machine need no second to close."""
    monkeypatch.setattr(attempts, "LINGER", 0.05)
