"""tlsproxy.tls.sni: which certificate goes with which name."""

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.tls.sni import NameMap, default_group, groups_by_name


@frozen
class Cert:
    label: str
    key_type: str
    names: frozenset[str]


def cert(label: str, *names: str) -> Cert:
    return Cert(label, "RSA" if label.startswith("r") else "ECDSA", frozenset(names))


def labels(group: tuple[Cert, ...]) -> str:
    return " ".join(each.label for each in group)


MAP = NameMap(
    "default",
    {"mx.example.org": "mx", "*.example.org": "wild", "*.mx.example.org": "deep", "example.org": "apex"},
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (b"mx.example.org", "mx"),
        (b"MX.Example.Org", "mx"),
        (b"mx.example.org.", "mx"),
        (b"www.example.org", "wild"),
        (b"example.org", "apex"),
        (b"a.mx.example.org", "deep"),
        (b"a.b.example.org", "default"),  # the wildcard is one label
        (b"example.com", "default"),
        (b"org", "default"),
        (b"*.example.org", "default"),  # a pattern is no name
        (b"", "default"),
        (b".", "default"),
        (b".example.org", "wild"),
        (None, "default"),
        (b"mx.example.org\x00.evil", "default"),
        ("mx.exämple.org".encode(), "default"),
        (b"\xff\xfe", "default"),
        (b"a" * 256, "default"),
        (b"a" * 100_000, "default"),
    ],
)
def test_exact_then_one_label_then_default(name: bytes | None, found: str) -> None:
    assert MAP.find(name) == found
    assert MAP.get(name) == (None if found == "default" else found)


@given(st.none() | st.binary(max_size=300))
def test_no_name_makes_it_fail(name: bytes | None) -> None:
    assert MAP.find(name) in ("default", "mx", "wild", "deep", "apex")


@pytest.mark.parametrize(
    ("certificates", "group"),
    [
        ([cert("r1", "a")], "r1"),
        ([cert("r1", "a"), cert("e1", "a")], "r1 e1"),
        ([cert("r1", "a"), cert("e1", "a", "b")], "r1 e1"),
        ([cert("r1", "a", "b"), cert("e1", "a")], "r1"),  # b would get a certificate that isn't for it
        ([cert("r1", "a"), cert("e1", "b"), cert("e2", "a")], "r1 e2"),
        ([cert("r1", "a"), cert("r2", "a")], "r1"),
        ([cert("r1"), cert("e1", "a")], "r1"),
        ([cert("r1"), cert("e1")], "r1 e1"),
    ],
)
def test_the_default_is_the_first_and_others_for_the_same_names(certificates: list[Cert], group: str) -> None:
    assert labels(default_group(certificates)) == group


def test_each_name_has_the_first_certificate_of_each_key_type() -> None:
    certificates = [cert("r1", "a"), cert("e1", "a", "b"), cert("r2", "a", "b"), cert("e2", "c", "*.c")]
    groups = {name: labels(group) for name, group in groups_by_name(certificates).items()}
    assert groups == {"a": "r1 e1", "b": "e1 r2", "c": "e2", "*.c": "e2"}
