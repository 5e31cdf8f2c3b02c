"""Tests for :mod:`tests.support.programs`."""

import os

import pytest

from tests.support.programs import REQUIRE_INTEROP, require


def test_a_program_that_is_there_is_found() -> None:
    assert os.access(require("sh", package="dash"), os.X_OK)


def test_a_missing_program_skips_and_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE_INTEROP, raising=False)
    with pytest.raises(
        pytest.skip.Exception, match="no-such-program isn't installed \\(Debian package nothing\\)"
    ):
        require("no-such-program", package="nothing")


def test_a_missing_program_fails_where_interoperability_tests_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(REQUIRE_INTEROP, "1")
    with pytest.raises(pytest.fail.Exception, match="Debian package nothing"):
        require("no-such-program", package="nothing")
