"""Which keys each kind of table takes, and what to say about one that it doesn't."""

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

from attrs import field, frozen

from tlsproxy.config.backend import Backend
from tlsproxy.config.declaration import Declaration, declared
from tlsproxy.config.model import Configuration, Listen, Listener, Pathway, PathwayGroup, Peer
from tlsproxy.config.settings import Settings
from tlsproxy.config.suggest import alternatives, closest, did_you_mean
from tlsproxy.fronts import KINDS

OPTIONS: Mapping[str, Declaration] = declared(Settings)
"""The options of a session, by name."""

LISTENER_KEYS: Mapping[str, str] = {f"{kind}_listener": kind for kind in KINDS}
"""The kind of listener, by the key of its tables."""


@frozen
class Table:
    """A kind of table."""

    where: str
    """How a message refers to it: ``in [backend.NAME]``."""
    own: Mapping[str, Declaration] = field(converter=declared)
    """Keys with a value, beside options; given as the class of the model."""
    tables: Collection[str] = ()
    """Keys with tables below."""
    takes_options: bool = True

    @cached_property
    def keys(self) -> Mapping[str, Declaration]:
        """Every key with a value."""
        return {**self.own, **OPTIONS} if self.takes_options else self.own

    def why_unknown(self, key: str, value: Any) -> str:
        """What to say about a ``key`` that this table doesn't take, and which has this ``value`` here."""
        if self is TOP and key.endswith("_listener"):
            kinds = alternatives((f"[[{name}]]" for name in LISTENER_KEYS), "and")
            meant = closest(key.removesuffix("_listener"), KINDS)
            hint = "" if meant is None else f' (did you mean "{meant}_listener"?)'
            return f"is no kind of listener; there is {kinds}{hint}"
        if key in OPTIONS:
            return (
                f"isn't valid {self.where}: it is an option of sessions, and belongs at the top of the file, or in a "
                "pathway, listener, listen or peer"
            )
        homes = _homes(key, value)
        if homes:
            return f"isn't valid {self.where}: it belongs {alternatives(homes)}"
        return f"isn't a key that is valid {self.where}{self._meant(key)}"

    def _meant(self, key: str) -> str:
        hint = did_you_mean(key, [*self.keys, *self.tables])
        if hint:
            return hint
        elsewhere = closest(key, [name for table in _TABLES for name in (*table.own, *table.tables)])
        if elsewhere is not None:
            return f' (did you mean "{elsewhere}", which belongs {alternatives(_homes(elsewhere, None))}?)'
        options = ["the options of sessions"] if self.takes_options else []
        return f"; valid are {alternatives([*self.own, *self.tables, *options], 'and')}"


TOP = Table("at the top of the file", Configuration, ("backend", "pathway", "pathway_group", *LISTENER_KEYS))
GROUP = Table("in [pathway_group.NAME]", PathwayGroup, ("pathway",))
PATHWAY = Table("in [pathway.NAME]", Pathway)
BACKEND = Table("in [backend.NAME]", Backend, takes_options=False)
LISTENER = Table("in [[KIND_listener]]", Listener, ("listen", "peer"))
LISTEN = Table("in [[KIND_listener.listen]]", Listen, ("peer",))
PEER = Table("in [[KIND_listener.peer]] or [[KIND_listener.listen.peer]]", Peer)

_TABLES = (TOP, GROUP, PATHWAY, BACKEND, LISTENER, LISTEN, PEER)


def _homes(key: str, value: Any) -> list[str]:
    """Where ``key`` is valid: with such a value, if anywhere, since a ``pathway`` can be a name or a table."""
    below = is_table(value) or (isinstance(value, list) and all(map(is_table, value)))
    fitting = [table.where for table in _TABLES if key in (table.tables if below else table.own)]
    return fitting or [table.where for table in _TABLES if key in (*table.own, *table.tables)]


def is_table(value: Any) -> bool:
    """Whether a value read from TOML is a table."""
    return isinstance(value, Mapping)
