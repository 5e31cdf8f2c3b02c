"""The parameters in force for one Postfix service: ``-o`` in ``master.cf`` before ``main.cf`` before the default."""

import re
from collections.abc import Mapping

from attrs import define, field

from tlsproxy.config.importing.postfix_defaults import DEFAULTS
from tlsproxy.config.importing.postfix_expand import ExpansionError, expand
from tlsproxy.config.importing.postfix_files import Setting
from tlsproxy.config.importing.remarks import Remark, lost

_TIME = re.compile(r"([0-9]{1,9})([smhdw]?)", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LIST = re.compile(r"[, \t\r\n]+")


@define
class Parameters:
    """Looks parameters up. What is wrong with one is added to ``remarks``."""

    settings: Mapping[str, Setting]
    """Those of ``main.cf`` with those of ``-o`` over them."""
    remarks: list[Remark] = field(factory=list)

    def setting(self, name: str) -> Setting | None:
        """Where a parameter is set; None for one that has its default."""
        return self.settings.get(name)

    def is_set(self, name: str) -> bool:
        return name in self.settings

    def text(self, name: str) -> str:
        """``name = value`` as it stands in the file, or as the default has it."""
        setting = self.settings.get(name)
        return setting.text if setting is not None else f"{name} = {DEFAULTS.get(name, '')}".rstrip()

    def where(self, name: str) -> str:
        """Where it is set."""
        setting = self.settings.get(name)
        return setting.where if setting is not None else "Postfix's default"

    def lost(self, name: str, message: str) -> Remark:
        """A remark about a parameter."""
        return lost(self.text(name), self.where(name), message)

    def string(self, name: str) -> str:
        """A value, expanded. One that can't be is the default, and told."""
        try:
            value, unknown = expand(self._raw(name) or "", self._raw)
        except ExpansionError as error:
            self.remarks.append(self.lost(name, f"{error}: Postfix doesn't start with it"))
            return expand(DEFAULTS.get(name, ""), DEFAULTS.get)[0]
        if unknown:
            names = ", ".join(f"${each}" for each in sorted(unknown))
            message = f"refers to {names}, which these files don't set: it is taken for empty"
            self.remarks.append(self.lost(name, message))
        return value.strip()

    def strings(self, name: str) -> list[str]:
        """A list, separated by commas and white space."""
        return [each for each in _LIST.split(self.string(name)) if each]

    def boolean(self, name: str) -> bool:
        value = self.string(name).lower()
        if value not in ("yes", "no"):
            self.remarks.append(self.lost(name, "is neither yes nor no: Postfix doesn't start with it"))
            return DEFAULTS.get(name) == "yes"
        return value == "yes"

    def number(self, name: str) -> int:
        value = self.string(name)
        if not (value.isascii() and value.isdecimal() and len(value) < 10):
            self.remarks.append(self.lost(name, "is no whole number: Postfix doesn't start with it"))
            return int(DEFAULTS[name])
        return int(value)

    def seconds(self, name: str) -> int:
        """A time."""
        match = _TIME.fullmatch(self.string(name))
        if match is None:
            self.remarks.append(self.lost(name, "is no time: a number with s, m, h, d or w behind it"))
            match = _TIME.fullmatch(expand(DEFAULTS[name], DEFAULTS.get)[0])
        return int(match[1]) * _SECONDS[match[2].lower()] if match is not None else 0

    def _raw(self, name: str) -> str | None:
        setting = self.settings.get(name)
        if setting is not None:
            return setting.value
        if name == "mydomain" and "myhostname" in self.settings:
            return self.settings["myhostname"].value.partition(".")[2] or "localdomain"
        return DEFAULTS.get(name)
