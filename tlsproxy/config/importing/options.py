"""Options collected for a scope: each is held against what the configuration allows before it gets into a document."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tlsproxy.config.declaration import Declaration, declared
from tlsproxy.config.importing.document import Entry
from tlsproxy.config.importing.remarks import Remark, lost
from tlsproxy.config.model import Listen
from tlsproxy.config.tables import OPTIONS
from tlsproxy.config.values import Files, check_bounds, values_converter

_CONVERTER = values_converter(Files(Path("/")))
_KEYS: Mapping[str, Declaration] = {**declared(Listen), **OPTIONS}

_ORDER = {name: place for place, name in enumerate(_KEYS)}


def why_invalid(name: str, value: Any) -> str | None:
    """What the configuration would say about a value of a listen's key or an option; None where it is valid."""
    declaration = _KEYS.get(name)
    if declaration is None:
        return f"this version of tlsproxy has no {name}"
    try:
        check_bounds(declaration, _CONVERTER.structure(value, declaration.type), value)
    except Exception as error:  # noqa: BLE001 - as in the reader: whatever it is, the value isn't valid
        return f"{name} {error}"
    return None


@frozen
class Option:
    """A value, and what is said about it in the document."""

    value: Any
    comments: tuple[str, ...] = ()


@define
class Options:
    """The options of a scope."""

    values: dict[str, Option] = field(factory=dict)
    remarks: list[Remark] = field(factory=list)

    def put(self, name: str, value: Any, *remarks: Remark, setting: str = "", where: str = "") -> None:
        """Set an option, unless its value isn't valid: then ``setting`` is lost.

        :param remarks: They are told beside the option.
        """
        problem = why_invalid(name, value)
        if problem is not None:
            self.remark(lost(setting or name, where, problem))
            return
        self.remarks += remarks
        self.values[name] = Option(value, tuple(remark.comment for remark in remarks))

    def remark(self, *remarks: Remark) -> None:
        """Say something that belongs to no option."""
        self.remarks += remarks

    def entries(self, leave_out: Iterable[str] = ()) -> list[Entry]:
        """In the order of the reference."""
        wanted = self.values.keys() - set(leave_out)
        return [
            Entry(name, self.values[name].value, self.values[name].comments)
            for name in sorted(wanted, key=_ORDER.__getitem__)
        ]

    def loose_comments(self) -> list[str]:
        """The remarks about what isn't carried over: they stand beside no option."""
        beside = {comment for option in self.values.values() for comment in option.comments}
        comments = dict.fromkeys(remark.comment for remark in self.remarks)
        return [comment for comment in comments if comment not in beside]


def shared(all_options: Sequence[Options]) -> Options:
    """The options that have the same value in each of several scopes, taken out of those: they go to a wider scope."""
    if not all_options:
        return Options()
    first, *others = all_options
    common = {
        name: option
        for name, option in first.values.items()
        if all(name in other.values and other.values[name].value == option.value for other in others)
    }
    remarks = [remark for remark in first.remarks if all(remark in other.remarks for other in others)]
    for options in all_options:
        options.values = {name: option for name, option in options.values.items() if name not in common}
        options.remarks = [remark for remark in options.remarks if remark not in remarks]
    return Options(common, remarks)


def drop_unusable_ciphers(options: Options, works: Callable[[str], bool]) -> None:
    """Take ``tls_ciphers`` and ``tls_ciphersuites`` out where the TLS library can do nothing with them."""
    for name in ("tls_ciphers", "tls_ciphersuites"):
        option = options.values.get(name)
        if option is not None and not works(option.value):
            del options.values[name]
            message = "has no cipher suite of this TLS library in it: tlsproxy's default holds"
            options.remark(lost(f"{name} = {option.value}", "", message))
