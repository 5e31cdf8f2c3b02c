"""Tests for :mod:`tlsproxy.policy.protocols`."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tlsproxy.errors import TlsProtocolsError
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion

ALL = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]

# String, and the digits of the versions that it allows: "0" is TLSv1, "3" is TLSv1.3.
VALID = [
    # An empty list, however long.
    ("", "0123"),
    (" ", "0123"),
    (" ,:\t\r\n, ", "0123"),
    # Inclusions.
    ("TLSv1", "0"),
    ("TLSv1.1", "1"),
    ("TLSv1.2", "2"),
    ("TLSv1.3", "3"),
    ("tlsv1.2", "2"),
    ("TLSV1.2", "2"),
    ("tLsV1.2", "2"),
    ("TLSv1.2 TLSv1.3", "23"),
    ("TLSv1.3 TLSv1.2", "23"),
    ("TLSv1.2 TLSv1.2", "2"),
    ("TLSv1,TLSv1.3", "03"),
    ("TLSv1:TLSv1.1:TLSv1.2:TLSv1.3", "0123"),
    ("TLSv1.1, TLSv1.3", "13"),
    ("SSLv3, TLSv1", "0"),
    ("SSLv2 SSLv3 TLSv1.2", "2"),
    # Exclusions.
    ("!SSLv2, !SSLv3", "0123"),
    ("!SSLv2:!SSLv3:!TLSv1:!TLSv1.1", "23"),
    ("!tlsv1", "123"),
    ("!TLSv1.1", "023"),
    ("!TLSv1.2", "013"),
    ("!TLSv1.3", "012"),
    ("!TLSv1.1 !TLSv1.2", "03"),
    ("!TLSv1 !TLSv1.1 !TLSv1.2", "3"),
    ("!TLSv1.3 !TLSv1.3", "012"),
    # An exclusion stands before an inclusion, in any order.
    ("TLSv1.2 TLSv1.3 !TLSv1.3", "2"),
    ("!TLSv1.3 TLSv1.3 TLSv1.2", "2"),
    ("TLSv1 !SSLv3", "0"),
    # Separators: any run of white space, commas and colons.
    (",TLSv1.2,", "2"),
    ("::TLSv1.2 , , TLSv1.3::", "23"),
    ("TLSv1.2\tTLSv1.3", "23"),
    ("TLSv1.2\r\nTLSv1.3", "23"),
    ("TLSv1.2\nTLSv1.3", "23"),
    ("TLSv1.2:,TLSv1.3", "23"),
    # Bounds by name.
    (">=TLSv1", "0123"),
    (">=TLSv1.1", "123"),
    (">=TLSv1.2", "23"),
    (">=TLSv1.3", "3"),
    (">=tlsv1.2", "23"),
    ("<=TLSv1", "0"),
    ("<=TLSv1.1", "01"),
    ("<=TLSv1.2", "012"),
    ("<=TLSv1.3", "0123"),
    (">=TLSv1, <=TLSv1.2", "012"),
    ("<=TLSv1.2, >=TLSv1", "012"),
    (">=TLSv1.1:<=TLSv1.2", "12"),
    (">=TLSv1.2 <=TLSv1.2", "2"),
    (">=TLSv1, <=TLSv1.3", "0123"),
    # Bounds by number: hexadecimal, with or without 0, 0x and +.
    (">=301", "0123"),
    (">=0301", "0123"),
    (">=0x301", "0123"),
    (">=0x0301", "0123"),
    (">=0X0303", "23"),
    (">=+303", "23"),
    (">=+0x303", "23"),
    (">=00000000000000000303", "23"),
    (">=302", "123"),
    (">=0304", "3"),
    ("<=0303", "012"),
    (">=0302,<=0x303", "12"),
    (">=TLSv1.1 <=303", "12"),
    # No bound, said aloud.
    (">=None", "0123"),
    ("<=none", "0123"),
    (">=0", "0123"),
    ("<=0", "0123"),
    (">=0x0 <=TLSv1.2", "012"),
    # An upper bound that the library doesn't know sets no bound.
    ("<=0305", "0123"),
    (">=TLSv1, <=0305", "0123"),
    (">=TLSv1.2 <=3ff", "23"),
    # The last of several bounds counts.
    (">=TLSv1.3 >=TLSv1.2", "23"),
    (">=TLSv1 >=TLSv1.2", "23"),
    ("<=TLSv1 <=TLSv1.2", "012"),
    ("<=TLSv1.1 <=0305", "0123"),
    (">=TLSv1.3 >=None", "0123"),
    # Bounds and lists are combined by AND.
    (">=TLSv1.1 !TLSv1.2", "13"),
    (">=TLSv1 <=TLSv1.2 !TLSv1.1", "02"),
    (">=TLSv1.2 TLSv1 TLSv1.3", "3"),
    ("TLSv1.1 TLSv1.2 <=TLSv1.1", "1"),
    (">=TLSv1.1 TLSv1.1 TLSv1.2 TLSv1.3 !TLSv1.3", "12"),
    (">=TLSv1.2 !SSLv2 !SSLv3 !TLSv1 !TLSv1.1", "23"),
]

# String, and what its message must say.
INVALID = [
    # White space after a bound: Postfix reads the empty bound, and an inclusion.
    (">= TLSv1.2", "no white space between '>=' and the version, write '>=TLSv1.2'"),
    ("<= TLSv1.2", "no white space between '<=' and the version, write '<=TLSv1.2'"),
    (">=\tTLSv1", "write '>=TLSv1'"),
    (">=,TLSv1", "write '>=TLSv1'"),
    (">= 0303", "write '>=0303'"),
    (">=TLSv1.2, <= TLSv1.3", "write '<=TLSv1.3'"),
    (">=", "'>=' has no version"),
    ("<=", "'<=' has no version"),
    (">= >=TLSv1.2", "write '>=TLSv1.2'"),
    # Unknown names.
    ("TLSv1.0", "did you mean 'TLSv1'?"),
    ("!TLSv1.0", "did you mean '!TLSv1'?"),
    (">=TLSv1.0", "did you mean '>=TLSv1'?"),
    ("TLS1.2", "did you mean 'TLSv1.2'?"),
    ("TLSv12", "did you mean 'TLSv1.2'?"),
    ("TLSv1_3", "did you mean 'TLSv1.3'?"),
    ("TLS-1.1", "did you mean 'TLSv1.1'?"),
    ("1.2", "did you mean 'TLSv1.2'?"),
    ("SSL3", "did you mean 'SSLv3'?"),
    ("TSLv1.2", "did you mean 'TLSv1.2'?"),
    ("!SSLv4", "did you mean '!SSLv3'?"),
    ("TLSv1.2+", "did you mean 'TLSv1.2'?"),
    ("TLSv1.2\x0b", "did you mean 'TLSv1.2'?"),
    ("TLSv1.2\u00a0TLSv1.3", r"'TLSv1.2\xa0TLSv1.3' isn't valid"),
    ("TLSv1.2;TLSv1.3", "'TLSv1.2;TLSv1.3' isn't valid"),
    ("modern", "'modern' isn't valid"),
    ("modern", "the versions are SSLv2 SSLv3 TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"),
    ("None", "'None' isn't valid"),
    ("!None", "'!None' isn't valid"),
    ("<=banana", "'<=banana' isn't valid"),
    # Other systems' words.
    ("all", "an empty list allows every version"),
    ("+ALL:-SSLv3", "an empty list allows every version"),
    ("+ALL:-SSLv3", "excluded by '!SSLv3'"),
    ("+TLSv1.2", "did you mean 'TLSv1.2'?"),
    ("-TLSv1", "excluded by '!TLSv1'"),
    ("-foo", "excluded by '!NAME'"),
    # Operators that aren't.
    ("!", "'!' isn't valid"),
    ("!!TLSv1", "did you mean '!TLSv1'?"),
    ("!>=TLSv1", "a bound is written '>=TLSv1'"),
    ("=TLSv1", "a bound is written '>=TLSv1'"),
    (">TLSv1.1", "a bound is written '>=TLSv1.1'"),
    ("<TLSv1.1", "'<=TLSv1.1'"),
    ("=>TLSv1.2", "a bound is written '>=TLSv1.2'"),
    (">==TLSv1.2", "a bound is written '>=TLSv1.2'"),
    ("> =TLSv1.2", "'=TLSv1.2' isn't valid"),
    # Numbers.
    ("0303", "hexadecimal numbers are for bounds alone, write 'TLSv1.2'"),
    ("!0x301", "hexadecimal numbers are for bounds alone, write '!TLSv1'"),
    ("+303", "hexadecimal numbers are for bounds alone, write 'TLSv1.2'"),
    ("0399", "hexadecimal numbers are for bounds alone, write 'NAME'"),
    (">=771", "numbers are hexadecimal, TLSv1.2 is 0303"),
    ("<=0772", "numbers are hexadecimal, TLSv1.3 is 0304"),
    (">=2", "0301 (TLSv1) to 0304 (TLSv1.3)"),
    ("<=0200", "no TLS version has this number"),
    (">=0400", "no TLS version has this number"),
    ("<=fefd", "no TLS version has this number"),
    (">=80000000", "no TLS version has this number"),
    ("<=" + "f" * 40, "no TLS version has this number"),
    (">=-303", "'>=-303' isn't valid"),
    (">=303z", "'>=303z' isn't valid"),
    (">=0x", "'>=0x' isn't valid"),
    (">=3_03", "'>=3_03' isn't valid"),
    (">=０３０３", "isn't valid"),  # noqa: RUF001 (full-width digits, which int() would read)
    # Bounds outside what the library has.
    (">=0305", "would set no lower bound at all"),
    (">=0305", "the highest is TLSv1.3 (0304)"),
    (">=SSLv3", "write '>=TLSv1'"),
    (">=0300", "write '>=TLSv1'"),
    (">=SSLv2", "SSLv2 can't be a bound"),
    ("<=sslv2", "SSLv2 can't be a bound"),
    # Nothing is left.
    ("<=SSLv3", "the lowest that the library has is TLSv1"),
    ("<=0300", "allows no TLS version"),
    ("SSLv2", "the lowest that the library has is TLSv1"),
    ("SSLv2 SSLv3", "allows no TLS version"),
    (">=TLSv1.3 <=TLSv1.2", "the lower bound TLSv1.3 is above the upper bound TLSv1.2"),
    (">=0304,<=301", "the lower bound TLSv1.3 is above the upper bound TLSv1"),
    (">=TLSv1.2, TLSv1.1", "rule out each"),
    ("TLSv1.2 !TLSv1.2", "rule out each"),
    ("!TLSv1 !TLSv1.1 !TLSv1.2 !TLSv1.3", "rule out each"),
    (">=TLSv1.3 !TLSv1.3", "rule out each"),
    ("SSLv3 >=TLSv1", "the lowest that the library has is TLSv1"),
]


def labels(protocols: TlsProtocols) -> list[str]:
    return str(protocols).split()


@pytest.mark.parametrize(("text", "allowed"), VALID)
def test_a_valid_list_allows_what_postconf_says(text: str, allowed: str) -> None:
    assert labels(TlsProtocols.parse(text)) == [ALL[int(digit)] for digit in allowed]


@pytest.mark.parametrize(("text", "fragment"), INVALID)
def test_an_invalid_list_is_refused_with_an_explanation(text: str, fragment: str) -> None:
    with pytest.raises(TlsProtocolsError, match=re.escape(fragment)) as refusal:
        TlsProtocols.parse(text)
    assert repr(text) in str(refusal.value)


def test_every_element_at_fault_is_reported() -> None:
    with pytest.raises(TlsProtocolsError) as refusal:
        TlsProtocols.parse("TLSv1.0, >=771, TLSv1.2, all")
    assert all(repr(element) in str(refusal.value) for element in ("TLSv1.0", ">=771", "all"))
    assert "'TLSv1.2'" not in str(refusal.value).replace("TLSv1.0, >=771, TLSv1.2, all", "")


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("<=0305", "'<=0305' sets no bound: the highest version the library knows is TLSv1.3"),
        (">=TLSv1 >=TLSv1.2", "more than one '>=' bound: the last one counts"),
        ("<=TLSv1.2 <=TLSv1.1", "more than one '<=' bound: the last one counts"),
        ("<=TLSv1.2 <=0305", "more than one '<=' bound"),
        ("SSLv3 TLSv1", "'SSLv3' adds nothing"),
        ("SSLv2 TLSv1", "'SSLv2' adds nothing"),
    ],
)
def test_what_may_mislead_is_warned_of(text: str, fragment: str) -> None:
    assert any(fragment in warning for warning in TlsProtocols.parse(text).warnings)


@pytest.mark.parametrize(
    "text", ["", ">=TLSv1.2", "!SSLv2 !SSLv3", ">=TLSv1 <=TLSv1.2", ">=303 >=TLSv1.2", "<=None", "<=TLSv1.3"]
)
def test_what_is_plain_is_not_warned_of(text: str) -> None:
    assert TlsProtocols.parse(text).warnings == ()


def test_the_extent_of_a_list_with_holes() -> None:
    protocols = TlsProtocols.parse("TLSv1, TLSv1.3")
    assert (protocols.minimum, protocols.maximum) == (TlsVersion.TLS1_0, TlsVersion.TLS1_3)
    assert protocols.excluded == {TlsVersion.TLS1_1, TlsVersion.TLS1_2}


def test_versions_outside_the_bounds_are_not_called_excluded() -> None:
    protocols = TlsProtocols.parse(">=TLSv1.1 <=TLSv1.2")
    assert (protocols.minimum, protocols.maximum) == (TlsVersion.TLS1_1, TlsVersion.TLS1_2)
    assert protocols.excluded == frozenset()


def test_allows_takes_the_number_on_the_wire() -> None:
    protocols = TlsProtocols.parse("TLSv1.2")
    assert protocols.allows(0x0303)
    assert not any(
        protocols.allows(number) for number in (0, 2, 0x0300, 0x0301, 0x0302, 0x0304, 0x0305, 0xFEFD)
    )


@pytest.mark.parametrize(
    ("text", "below"), [("", True), (">=TLSv1.1", True), (">=TLSv1.2", False), ("TLSv1.3", False)]
)
def test_reaching_below_tls12(text: str, below: bool) -> None:
    assert TlsProtocols.parse(text).reaches_below_tls12 is below


def test_lists_are_equal_when_they_allow_the_same() -> None:
    one, other = TlsProtocols.parse(">=TLSv1.2, <=0305"), TlsProtocols.parse("TLSv1.3:tlsv1.2")
    assert one == other
    assert hash(one) == hash(other)
    assert (one.text, other.text) == (">=TLSv1.2, <=0305", "TLSv1.3:tlsv1.2")
    assert one != TlsProtocols.parse("TLSv1.2")


def test_a_value_that_allows_nothing_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="versions"):
        TlsProtocols("", frozenset())


def test_versions_carry_their_names_and_numbers() -> None:
    assert {version.label: hex(version) for version in TlsVersion} == {
        "TLSv1": "0x301",
        "TLSv1.1": "0x302",
        "TLSv1.2": "0x303",
        "TLSv1.3": "0x304",
    }


# postconf(5) said again, over elements instead of text.

Element = tuple[str, str]
"""What an element does (``include``, ``exclude``, ``floor``, ``ceiling``), and the version's name."""

HEXADECIMAL = {"TLSv1": "301", "TLSv1.1": "302", "TLSv1.2": "303", "TLSv1.3": "304"}
OLD = ["SSLv2", "SSLv3"]

element_lists = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["include", "exclude"]), st.sampled_from(OLD + ALL)),
        st.tuples(st.sampled_from(["floor", "ceiling"]), st.sampled_from(ALL)),
    ),
    max_size=8,
)


def allowed_by_the_prose(elements: list[Element]) -> list[str]:
    """What postconf(5) says of a list: names to include or exclude, a lowest and a highest version."""
    includes = [name for action, name in elements if action == "include"]
    excludes = [name for action, name in elements if action == "exclude"]
    lowest = [name for action, name in elements if action == "floor"] or ALL[:1]
    highest = [name for action, name in elements if action == "ceiling"] or ALL[-1:]
    in_range = ALL[ALL.index(lowest[-1]) : ALL.index(highest[-1]) + 1]
    return [name for name in in_range if name in (includes or ALL) and name not in excludes]


separators = st.sampled_from([" ", ",", ":", "\t", "\r\n", "\n", ", ", " : ", ",,", "\r\n\t"])


@st.composite
def spelled(draw: st.DrawFn, elements: list[Element]) -> str:
    """A text for ``elements``: any case, any separators, bounds by name or by number."""
    text = draw(separators) * draw(st.integers(0, 2))
    for action, name in elements:
        if action in ("floor", "ceiling") and draw(st.booleans()):
            name = draw(st.sampled_from(["", "0", "0x", "0x0", "+"])) + HEXADECIMAL[name]  # noqa: PLW2901
        name = draw(st.sampled_from([name, name.lower(), name.upper(), name.swapcase()]))  # noqa: PLW2901
        text += {"include": "", "exclude": "!", "floor": ">=", "ceiling": "<="}[action] + name
        text += draw(separators)
    return text


@given(st.data(), element_lists)
def test_generated_lists_mean_what_the_prose_says(data: st.DataObject, elements: list[Element]) -> None:
    text = data.draw(spelled(elements))
    expected = allowed_by_the_prose(elements)
    if expected:
        assert labels(TlsProtocols.parse(text)) == expected
    else:
        with pytest.raises(TlsProtocolsError, match="allows no TLS version"):
            TlsProtocols.parse(text)


@given(element_lists.flatmap(spelled), st.sampled_from(ALL))
def test_an_exclusion_takes_one_version_away_and_no_other(text: str, name: str) -> None:
    assume(is_valid(text))
    before = labels(TlsProtocols.parse(text))
    after = labels(TlsProtocols.parse(f"{text} !{name}")) if before != [name] else []
    assert after == [version for version in before if version != name]


@given(element_lists.flatmap(spelled))
def test_the_readable_form_is_a_list_of_the_same_meaning(text: str) -> None:
    assume(is_valid(text))
    protocols = TlsProtocols.parse(text)
    assert TlsProtocols.parse(str(protocols)) == protocols


def is_valid(text: str) -> bool:
    try:
        TlsProtocols.parse(text)
    except TlsProtocolsError:
        return False
    return True


# Postfix's tls_proto_mask_lims() and OpenSSL's treatment of its result, said again in Python.

BITS = {"sslv2": 0, "sslv3": 1, "tlsv1": 2, "tlsv1.1": 4, "tlsv1.2": 8, "tlsv1.3": 16}
BOUNDS = {"none": 0, "sslv3": 0x300, "tlsv1": 0x301, "tlsv1.1": 0x302, "tlsv1.2": 0x303, "tlsv1.3": 0x304}


def postfix_bound(value: str) -> int | None:
    """``parse_tls_version()``: a name or ``strtoul(value, &end, 16)``; None where it isn't valid."""
    if value.lower() in BOUNDS:
        return BOUNDS[value.lower()]
    digits = value.removeprefix("+")
    digits = digits[2:] if digits[:2] in ("0x", "0X") and len(digits) > 2 else digits
    if any(digit not in "0123456789abcdefABCDEF" for digit in digits) or value == "+":
        return None
    number = int(digits or "0", 16)
    return number if number < 2**31 else None


def postfix_mask(elements: list[str]) -> tuple[int, int, int] | None:
    """The exclusion mask, the floor and the ceiling; None for a list that isn't valid."""
    include = exclude = 0
    bounds = {">=": 0, "<=": 0}
    for element in elements:
        if element[:2] in bounds:
            number = postfix_bound(element[2:])
            if number is None:
                return None
            bounds[element[:2]] = number
        elif element.removeprefix("!").lower() not in BITS:
            return None
        elif element[0] == "!":
            exclude |= BITS[element[1:].lower()]
        else:
            include |= BITS[element.lower()]
    return exclude | (31 & ~include if include else 0), bounds[">="], bounds["<="]


def postfix_allows(text: str) -> list[str] | None:
    """The versions that a Postfix with this list accepts, None when it offers no TLS."""
    mask = postfix_mask([element for element in text.split(" ") if element])
    if mask is None:
        return None
    exclude, floor, ceiling = mask
    known = range(0x301, 0x305)
    floor = floor if floor in known else 0x301
    ceiling = (
        ceiling if ceiling in known or ceiling == 0x300 else 0x304
    )  # OpenSSL 3.0 sets SSLv3, and all fails
    return [
        name
        for number, name in zip(known, ALL, strict=True)
        if floor <= number <= ceiling and not exclude & BITS[name.lower()]
    ]


operators = st.sampled_from(["", "", "!", ">=", "<=", ">", "=", "+", "-", "!!"])
values = st.one_of(
    st.sampled_from(
        [*BITS, "none", "all", "TLSv1.0", "TLSv1.4", "", "771", "0", "0300", "0305", "3ff", "0x", "+302"]
    ),
    st.text("0123456789xX+-abcdef", max_size=6),
)
texts = st.lists(st.tuples(operators, values).map("".join), max_size=5).map(" ".join)


@given(texts)
@example(">= TLSv1.2")
@example("SSLv2")
@example("<=0300")
def test_what_is_not_refused_means_what_postfix_makes_of_it(text: str) -> None:
    try:
        protocols = TlsProtocols.parse(text)
    except TlsProtocolsError:
        return
    assert labels(protocols) == postfix_allows(text)


@given(texts)
def test_what_postfix_refuses_is_refused(text: str) -> None:
    if not postfix_allows(text):
        with pytest.raises(TlsProtocolsError):
            TlsProtocols.parse(text)


@given(st.text())
def test_any_text_is_read_or_refused_with_its_own_words(text: str) -> None:
    if not is_valid(text):
        with pytest.raises(TlsProtocolsError, match=re.escape(repr(text))):
            TlsProtocols.parse(text)
