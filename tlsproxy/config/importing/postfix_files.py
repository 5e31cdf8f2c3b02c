"""The syntax of Postfix's ``main.cf`` (postconf(5)) and ``master.cf`` (master(5)).

Both are made of logical lines: a line that starts with white space continues the one before; empty lines and lines
whose first character that isn't white space is ``#`` are left out, between continuations too.
"""

from collections.abc import Iterator, Mapping

from attrs import frozen

from tlsproxy.config.importing.remarks import Remark, lost, note

_SPACE = " \t\r\n\v\f"
"""What isspace(3) takes for white space."""


@frozen
class LogicalLine:
    """A line with its continuations."""

    number: int
    """Of the first line in the file, from 1."""
    text: str


def logical_lines(text: str) -> Iterator[LogicalLine]:
    """The logical lines of a file; white space before the first is taken for nothing."""
    parts: list[str] = []
    number = 0
    for current, raw in enumerate(text.split("\n"), start=1):
        line = raw.replace("\0", "")
        content = line.lstrip(_SPACE)
        if not content or content.startswith("#"):
            continue
        if parts and line[0] in _SPACE:
            parts.append(line)
            continue
        if parts:
            yield LogicalLine(number, "".join(parts))
        number, parts = current, [line]
    if parts:
        yield LogicalLine(number, "".join(parts))


@frozen
class Setting:
    """A parameter's value, where it stands."""

    name: str
    value: str
    """Not expanded."""
    where: str
    """``main.cf line 12``."""

    @property
    def text(self) -> str:
        return f"{self.name} = {self.value}"


def split_setting(text: str) -> tuple[str, str] | None:
    """Name and value of ``name = value``; None where it isn't that."""
    name, equals, value = text.strip(_SPACE).partition("=")
    name = name.rstrip(_SPACE)
    if not equals or not name or any(character in _SPACE for character in name):
        return None
    return name, value.strip(_SPACE)


def parse_main(text: str, source: str = "main.cf") -> tuple[dict[str, Setting], list[Remark]]:
    """The parameters that a ``main.cf``, or the output of ``postconf -n``, sets; of several settings the last counts."""
    settings: dict[str, Setting] = {}
    remarks = []
    for line in logical_lines(text):
        where = f"{source} line {line.number}"
        setting = split_setting(line.text)
        if setting is None:
            remarks.append(lost(line.text.strip(), where, 'isn\'t "name = value"'))
            continue
        name, value = setting
        if name in settings and settings[name].value != value and _about_tls(name):
            remarks.append(
                note(settings[name].text, settings[name].where, f"is set again in {where}: the last counts")
            )
        settings[name] = Setting(name, value, where)
    return settings, remarks


def _about_tls(name: str) -> bool:
    return "tls" in name


@frozen
class Service:
    """A line of ``master.cf``."""

    name: str
    """``smtp``, ``127.0.0.1:10025``."""
    type: str
    """``inet``, ``unix``, ``pass`` …"""
    command: str
    overrides: Mapping[str, Setting]
    """What ``-o`` sets."""
    where: str


_COLUMNS = 8
"""service type private unprivileged chroot wakeup maxproc command."""


def parse_master(text: str, source: str = "master.cf") -> tuple[list[Service], list[Remark]]:
    """The services of a ``master.cf``. Columns of no interest here are passed over."""
    services: list[Service] = []
    remarks: list[Remark] = []
    for line in logical_lines(text):
        where = f"{source} line {line.number}"
        fields = _fields(line.text)
        if len(fields) < _COLUMNS:
            remarks.append(lost(line.text.strip(), where, "has fewer columns than a service of master.cf"))
            continue
        name, kind, *_, command = fields[:_COLUMNS]
        place = f"{source} line {line.number}, {name}"
        overrides, problems = _overrides(fields[_COLUMNS:], place, fits=command in ("smtpd", "postscreen"))
        remarks += problems
        services.append(Service(name, kind, command, overrides, place))
    return services, remarks


def _fields(text: str) -> list[str]:
    """Split at white space; ``{ … }`` is one field with the white space in it, as mystrtokq(3) has it."""
    fields: list[str] = []
    field = ""
    depth = 0
    for character in text:
        if character in _SPACE and depth == 0:
            fields += [field] if field else []
            field = ""
            continue
        depth += (character == "{") - (character == "}" and depth > 0)
        field += character
    return [*fields, field] if field else fields


def _overrides(arguments: list[str], where: str, *, fits: bool) -> tuple[dict[str, Setting], list[Remark]]:
    """The parameters that ``-o`` sets.

    :param fits: Whether this is a command whose parameters matter; of others nothing is said.
    """
    overrides: dict[str, Setting] = {}
    remarks = []
    queue = iter(arguments)
    for argument in queue:
        if not argument.startswith("-o"):
            if fits and not argument.startswith("-"):
                message = "is no option: after -o stands name=value without white space, or { name = value }"
                remarks.append(lost(argument, where, message))
            continue
        text = argument[2:] or next(queue, "")
        setting = split_setting(_unbraced(text))
        if setting is None:
            if fits:
                remarks.append(lost(f"-o {text}", where, "isn't name=value: Postfix's daemon doesn't start"))
            continue
        name, value = setting
        overrides[name] = Setting(name, value, where)
    return overrides, remarks


def _unbraced(text: str) -> str:
    return text[1:-1] if text.startswith("{") and text.endswith("}") else text
