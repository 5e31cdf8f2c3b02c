"""Tests for :mod:`tlsproxy.fronts.options`."""

import attrs
import pytest

from tests.fronts import conftest
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import KINDS
from tlsproxy.fronts.esmtp import EsmtpFront
from tlsproxy.fronts.options import EsmtpOptions, FrontOptions, IdentityMode

NAMES = [name for name, member in vars(EsmtpOptions).items() if isinstance(member, property)]


def test_the_catalogue_has_every_option_with_the_default_that_these_tests_assume() -> None:
    catalogue, assumed = Settings(), conftest.Settings(smtp_hostname=Settings().smtp_hostname)
    assert {name: getattr(catalogue, name) for name in NAMES} == {
        name: getattr(assumed, name) for name in NAMES
    }
    assert {field.name for field in attrs.fields(conftest.Settings)} == set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("smtp_", "starttls_"))])
def test_options_that_are_of_smtp_by_name_are_of_esmtp_listeners(name: str) -> None:
    assert attrs.fields_dict(Settings)[name].metadata["kinds"] == {"esmtp"}


def test_they_make_a_front() -> None:
    options = FrontOptions(conftest.Settings(), IdentityMode.NONE, lambda: conftest.NOON)
    assert isinstance(KINDS["esmtp"].front(options), EsmtpFront)
