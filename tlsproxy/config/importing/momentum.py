"""Momentum's configuration to ours: listeners, listens, peers, pathways and their groups, one to one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Final

from attrs import define, field, frozen

from tlsproxy.config.addresses import parse_listen_address
from tlsproxy.config.importing.document import Entry, Table, header
from tlsproxy.config.importing.momentum_files import (
    Assignment,
    Include,
    MomentumSyntaxError,
    Scope,
    Statement,
    parse,
)
from tlsproxy.config.importing.momentum_scopes import FALSE, boolean, text_of, translate
from tlsproxy.config.importing.options import Options, drop_unusable_ciphers, why_invalid
from tlsproxy.config.importing.remarks import Imported, ImportFailed, Remark, each_once, lost, note
from tlsproxy.config.networks import parse_network
from tlsproxy.config.tables import OPTIONS

MAX_FILES: Final = 200
"""Files included in all. A cluster's configuration has a few dozen."""

_KINDS: Final = {"esmtp_listener": "esmtp", "http_listener": "http", "ecstream_listener": "stream"}
_SERVERS: Final = {"esmtp": "127.0.0.1:2525", "http": "127.0.0.1:12081", "stream": "127.0.0.1:11825"}
_OUTBOUND: Final = ("tls", "tls_ca", "tls_verify", "tls_ifavailable_fallback", "enable_dane", "use_dane")

Reader = Callable[[str, str], Sequence[tuple[str, str]]]
"""Given the path in an ``include`` and the file that it stands in: name and text of each file that it means.

:raises OSError: There is none.
"""


@define
class _Tree:
    """A scope with everything that is said about it, wherever that stands: later assignments replace earlier ones."""

    label: str = ""
    where: str = ""
    assignments: dict[str, Assignment] = field(factory=dict)
    scopes: "dict[tuple[str, str], _Tree]" = field(factory=dict)

    def below(self, *names: str) -> "list[_Tree]":
        return [tree for (name, _), tree in self.scopes.items() if name in names]


def import_momentum(
    text: str,
    source: str,
    read: Reader,
    *,
    servers: Mapping[str, Sequence[str]] | None = None,
    ciphers_work: Callable[[str], bool] = bool,
) -> Imported:
    """Translate.

    :param text: ``ecelerity.conf``.
    :param source: Its name.
    :param read: Finds included files.
    :param servers: Where Momentum will listen for tlsproxy, by kind of listener.
    :param ciphers_work: Whether the TLS library finds a suite in a list.
    :raises ImportFailed: The text can't be read, or has no listener that tlsproxy could stand in front of.
    """
    gathering = _Gathering(read)
    try:
        gathering.add(gathering.tree, parse(text, source), source, (source,))
    except MomentumSyntaxError as error:
        raise ImportFailed(str(error), gathering.remarks) from error
    translation = _Translation(gathering.tree, servers or {}, gathering.remarks, ciphers_work)
    document = translation.document()
    remarks = tuple(each_once(translation.remarks))
    document.say_the_rest(remark.comment for remark in remarks)
    if not translation.used:
        raise ImportFailed(
            "there is no ESMTP_Listener, HTTP_Listener or ECStream_Listener that could be carried over",
            remarks,
        )
    return Imported(document.render(), remarks)


@define
class _Gathering:
    """Puts the statements of all files into one tree."""

    read: Reader
    tree: _Tree = field(factory=_Tree)
    remarks: list[Remark] = field(factory=list)
    files: int = 1

    def add(
        self, tree: _Tree, statements: Iterable[Statement], source: str, open_files: tuple[str, ...]
    ) -> None:
        for statement in statements:
            match statement:
                case Assignment():
                    tree.assignments[statement.name] = statement
                case Scope():
                    key = (statement.name, statement.label)
                    below = tree.scopes.setdefault(key, _Tree(statement.label, statement.where))
                    self.add(below, statement.body, source, open_files)
                case Include():
                    self._include(tree, statement, source, open_files)

    def _include(self, tree: _Tree, include: Include, source: str, open_files: tuple[str, ...]) -> None:
        setting = f'include "{include.path}"'
        try:
            files = self.read(include.path, source)
        except OSError as error:
            self.remarks.append(lost(setting, include.where, f"can't be read: {error.strerror or error}"))
            return
        for name, text in files:
            self.files += 1
            if name in open_files:
                self.remarks.append(lost(setting, include.where, "includes itself"))
            elif self.files > MAX_FILES:
                self.remarks.append(lost(setting, include.where, f"is more than {MAX_FILES} files in all"))
                return
            else:
                self.add(tree, parse(text, name), name, (*open_files, name))


@frozen
class _Context:
    """What the scopes around one say, from the widest: their options, attached pathways' included."""

    kind: str
    scopes: tuple[Options, ...] = ()

    def within(self, options: Options) -> "_Context":
        return _Context(self.kind, (*self.scopes, options))

    def value(self, option: str) -> object:
        """What is in force; None where no scope sets it."""
        found = [scope.values[option].value for scope in self.scopes if option in scope.values]
        return found[-1] if found else None


@define
class _Translation:
    tree: _Tree
    servers: Mapping[str, Sequence[str]]
    remarks: list[Remark]
    ciphers_work: Callable[[str], bool]
    pathways: dict[str, Options] = field(factory=dict)
    """Every pathway with what its group says, for what is in force."""
    used: dict[str, None] = field(factory=dict)
    """Kinds of listeners carried over."""
    taken: set[str] = field(factory=set)
    """Addresses listened on."""
    wildcards: set[str] = field(factory=set)
    """Addresses listened on that hold others, wherever they stand."""

    def document(self) -> Table:
        top_options = self._options(self.tree.assignments)
        if top_options.values.get("tls_verify_mode") is not None:
            _check_client_ca(self.tree, top_options, _Context("").within(top_options))
        self._put_defaults(top_options)
        top = Table(
            comments=[
                "Written by `tlsproxy import momentum`: the TLS of these listeners, for tlsproxy in front of Momentum.",
                "Momentum needs addresses of its own for it, without TLS: the servers of the backends here.",
                "Then `tlsproxy check` this file.",
            ],
        )
        self.wildcards = set(self._wildcards())
        pathways = list(self._pathways())
        listeners = [
            table
            for (name, _), tree in self.tree.scopes.items()
            if name in _KINDS and (table := self._listener(_KINDS[name], tree, top_options)) is not None
        ]
        self._remark_elsewhere(top_options)
        top.entries = top_options.entries()
        top.remarks = top_options.loose_comments()
        self.remarks += top_options.remarks
        top.tables = [self._backend(kind) for kind in self.used] + pathways + listeners
        return top

    def _options(self, assignments: Mapping[str, Assignment]) -> Options:
        options = translate(assignments)
        drop_unusable_ciphers(options, self.ciphers_work)
        return options

    def _put_defaults(self, options: Options) -> None:
        """Where Momentum's defaults aren't ours, say which holds."""
        if "tls_allow_renegotiation" not in options.values:
            message = (
                "Momentum's default is true: clients may renegotiate. tlsproxy's is false; true is Momentum's"
            )
            options.put("tls_allow_renegotiation", False, note("tls_allow_renegotiation", "not set", message))
        if "tls_ciphers" not in options.values:
            options.put("tls_ciphers", "DEFAULT")
        if "tls_protocols" not in options.values and "tls_protocols" not in self.tree.assignments:
            message = (
                'Momentum\'s default is "+ALL", which came down to what its system allowed; tlsproxy\'s is ">=TLSv1.2", '
                "and tls_protocols_report tells who would need less"
            )
            options.put("tls_protocols", ">=TLSv1.2", note("tls_protocols", "not set", message))

    def _wildcards(self) -> Iterator[str]:
        for (name, _), listener in self.tree.scopes.items():
            for listen in listener.below("listen") if name in _KINDS else ():
                address, _ = _address(listen.label)
                if address.startswith(_ANY) and _is_enabled(listener) and _is_enabled(listen):
                    yield address

    def _conflict(self, address: str) -> str | None:
        """Why an address can't be listened on, beside the others."""
        host, _, port = address.rpartition(":")
        wildcard = f"[::]:{port}" if host.startswith("[") else f"0.0.0.0:{port}"
        if address in self.taken:
            return f"{address} is listened on already"
        if address != wildcard and wildcard in self.wildcards and not address.startswith("unix:"):
            return f"{address} is part of {wildcard}, which is listened on as well: keep one of them"
        return None

    def _free(self, server: str) -> str:
        """A server's address, with another port if that is listened on."""
        host, _, port = server.rpartition(":")
        ports = {address.rpartition(":")[2] for address in self.taken}
        return f"{host}:{next(each for each in range(int(port), 65_536) if str(each) not in ports)}"

    def _backend(self, kind: str) -> Table:
        servers = self.servers.get(kind) or [self._free(_SERVERS[kind])]
        entries = [Entry("servers", list(dict.fromkeys(servers)))]
        if kind == "esmtp":
            entries.append(
                Entry(
                    "identity", "proxy_v1", ("Momentum needs Proxy_Protocol = true on the listen for this.",)
                )
            )
        return Table(header("backend", f"momentum-{kind}"), entries=entries)

    def _pathways(self) -> Iterator[Table]:
        for tree in self.tree.below("pathway"):
            if any(
                tree.label in _labels(group.below("pathway")) for group in self.tree.below("pathway_group")
            ):
                self.remarks.append(
                    lost(
                        f'pathway "{tree.label}"',
                        tree.where,
                        "is in a pathway_group as well: that one is carried over",
                    )
                )
                continue
            yield self._pathway(tree, Options(), ("pathway",))
        for group in self.tree.below("pathway_group"):
            options = self._options(group.assignments)
            options.remark(
                *_remarks_of_group(group) if options.values else (),
            )
            self.remarks += options.remarks
            table = Table(
                header("pathway_group", group.label),
                entries=options.entries(),
                remarks=options.loose_comments(),
            )
            fresh = [tree for tree in group.below("pathway") if tree.label not in self.pathways]
            table.tables = [
                self._pathway(tree, options, ("pathway_group", group.label, "pathway")) for tree in fresh
            ]
            yield table

    def _pathway(self, tree: _Tree, group: Options, names: tuple[str, ...]) -> Table:
        options = self._translated(None, tree, _Context("esmtp"), fits_pathway=False)
        self.pathways[tree.label] = Options({**group.values, **options.values})
        return Table(header(*names, tree.label), entries=options.entries(), remarks=options.loose_comments())

    def _translated(
        self, kind: str | None, tree: _Tree, context: _Context, *, fits_pathway: bool = True
    ) -> Options:
        """A scope's options, held against those around it; remarks are collected."""
        options = self._options(tree.assignments)
        if kind == "esmtp":
            _put_starttls(tree, options)
        pathway = self._attached(tree, options) if fits_pathway else None
        around = context.within(pathway).within(options) if pathway is not None else context.within(options)
        if options.values.get("tls_verify_mode") is not None:
            _check_client_ca(tree, options, around)
        self.remarks += options.remarks
        return options

    def _attached(self, tree: _Tree, options: Options) -> Options | None:
        assignment = tree.assignments.get("pathway")
        if assignment is None:
            return None
        name = text_of(assignment)
        if name in self.pathways:
            return self.pathways[name]
        options.remark(lost(assignment.text, assignment.where, "there is no pathway of this name"))
        return None

    def _entries(self, kind: str, tree: _Tree, options: Options) -> list[Entry]:
        assignment = tree.assignments.get("pathway")
        attached = assignment is not None and text_of(assignment) in self.pathways
        names = [Entry("pathway", text_of(assignment))] if assignment is not None and attached else []
        unfit = [name for name in options.values if not _fits(name, kind)]
        return [*names, *options.entries(leave_out=unfit)]

    def _listener(self, kind: str, tree: _Tree, top: Options) -> Table | None:
        if not self._enabled(tree):
            return None
        options = self._translated(kind, tree, context := _Context(kind, (top,)))
        context = self._inner(context, tree, options)
        listens = [
            listen
            for each in tree.below("listen")
            if self._enabled(each) and (listen := self._listen(kind, each, context, tree)) is not None
        ]
        if not listens:
            self.remarks.append(
                lost(f"{tree.label or kind} listener", tree.where, "has no Listen that could be carried over")
            )
            return None
        self.used[kind] = None
        table = Table(header(f"{kind}_listener", array=True))
        table.entries = [Entry("backend", f"momentum-{kind}"), *self._entries(kind, tree, options)]
        table.remarks = options.loose_comments()
        table.tables = [*self._peers((f"{kind}_listener", "peer"), kind, tree, context), *listens]
        return table

    def _inner(self, context: _Context, tree: _Tree, options: Options) -> _Context:
        assignment = tree.assignments.get("pathway")
        pathway = self.pathways.get(text_of(assignment)) if assignment is not None else None
        return (context.within(pathway) if pathway is not None else context).within(options)

    def _enabled(self, tree: _Tree) -> bool:
        if _is_enabled(tree):
            return True
        assignment = tree.assignments["enable"]
        self.remarks.append(
            note(f'"{tree.label}" enable = false', assignment.where, "is left out, as Momentum leaves it")
        )
        return False

    def _listen(self, kind: str, tree: _Tree, context: _Context, listener: _Tree) -> Table | None:
        address, problem = _address(tree.label)
        options = self._translated(kind, tree, context)
        context = self._inner(context, tree, options)
        problem = problem or _why_no_tls(kind, context) or self._conflict(address)
        if problem is not None:
            self.remarks.append(lost(f'Listen "{tree.label}"', tree.where, problem))
            return None
        self.taken.add(address)
        _settle_tls(kind, tree, options, context)
        extra = Options()
        _put_proxy_protocol(listener, tree, extra)
        self.remarks += [*extra.remarks, *(each for each in options.remarks if each not in self.remarks)]
        options.values.update(extra.values)
        options.remark(*extra.remarks)
        table = Table(
            header(f"{kind}_listener", "listen", array=True),
            comments=[f'Listen "{tree.label}" ({tree.where})'],
        )
        table.entries = [Entry("address", address), *self._entries(kind, tree, options)]
        table.remarks = options.loose_comments()
        table.tables = list(self._peers((f"{kind}_listener", "listen", "peer"), kind, tree, context))
        return table

    def _peers(self, names: tuple[str, ...], kind: str, tree: _Tree, context: _Context) -> Iterator[Table]:
        seen: set[str] = set()
        for peer in tree.below("peer"):
            network = _network(peer.label)
            if network is None or network in seen:
                why = (
                    "is no network in CIDR notation"
                    if network is None
                    else "is there already, in other words"
                )
                self.remarks.append(lost(f'Peer "{peer.label}"', peer.where, why))
                continue
            seen.add(network)
            options = self._translated(kind, peer, context)
            _settle_peer(kind, options, self._inner(context, peer, options))
            entries = self._entries(kind, peer, options)
            comments = options.loose_comments()
            if entries or comments:
                table = Table(
                    header(*names, array=True),
                    entries=[Entry("network", network), *entries],
                    remarks=comments,
                )
                yield table

    def _remark_elsewhere(self, options: Options) -> None:
        """What stands in scopes that aren't ours."""
        for name, tree in ((name, tree) for (name, _), tree in self.tree.scopes.items()):
            if name == "xmpp_listener":
                options.remark(lost("XMPP_Listener", tree.where, "there is no listener for XMPP"))
        outbound = [self.tree.assignments[name] for name in _OUTBOUND if name in self.tree.assignments]
        for assignment in outbound:
            options.remark(
                note(assignment.text, assignment.where, "is about mail that Momentum sends: it stays there")
            )
        engine = self.tree.assignments.get("tls_engine")
        if engine is not None and text_of(engine).lower() != "openssl":
            options.remark(lost(engine.text, engine.where, "the TLS library here is OpenSSL"))


_ANY: Final = ("0.0.0.0:", "[::]:")


def _is_enabled(tree: _Tree) -> bool:
    assignment = tree.assignments.get("enable")
    return assignment is None or text_of(assignment).lower() not in FALSE


def _fits(option: str, kind: str) -> bool:
    """Whether a kind of listener knows an option; a listen's own keys fit each."""
    kinds = OPTIONS[option].kinds if option in OPTIONS else None
    return kinds is None or kind in kinds


def _labels(trees: Iterable[_Tree]) -> set[str]:
    return {tree.label for tree in trees}


def _remarks_of_group(group: _Tree) -> Sequence[Remark]:
    message = (
        "Momentum's manual warns that options of listeners have no effect in a pathway_group; here they do"
    )
    return (note(f'pathway_group "{group.label}"', group.where, message),)


def _put_starttls(tree: _Tree, options: Options) -> None:
    """Momentum offers STARTTLS where it is in ``SMTP_Extensions``."""
    extensions = tree.assignments.get("smtp_extensions")
    if extensions is None:
        return
    words = extensions.value if isinstance(extensions.value, list) else extensions.value.split()
    level = "may" if "STARTTLS" in map(str.upper, words) else "none"
    options.put("tls_security_level", level, setting=extensions.text, where=extensions.where)


def _check_client_ca(tree: _Tree, options: Options, around: _Context) -> None:
    if options.values["tls_verify_mode"].value != "require" or around.value("tls_client_ca") is not None:
        return
    del options.values["tls_verify_mode"]
    options.remark(
        lost(
            "tls_verify_mode = require",
            tree.assignments["tls_verify_mode"].where,
            "needs tls_client_ca, and no scope around sets it: NO client certificate is demanded until both are set here",
        )
    )


def _address(label: str) -> tuple[str, str | None]:
    """Our notation of a ``Listen``'s address, and what is wrong with it if something is."""
    host, _, port = label.rpartition(":")
    if label.startswith("/"):
        text = f"unix:{label}"
    elif host in ("", "*"):
        text = f"0.0.0.0:{port}"
    elif host == "[*]":
        text = f"[::]:{port}"
    else:
        text = label
    try:
        return str(parse_listen_address(text)), None
    except ValueError as error:
        return "", str(error)


def _network(label: str) -> str | None:
    """A peer's network; Momentum takes bits beyond the prefix for none."""
    try:
        return str(parse_network(str(ip_interface(label.strip("[]")).network)))
    except ValueError:
        return None


def _why_no_tls(kind: str, context: _Context) -> str | None:
    """Why a listen can't be carried over, for what its TLS is."""
    implicit = context.value("tls_wrappermode") is True
    has_certificate = context.value("tls_certificate") is not None
    if kind == "stream" and not implicit:
        return "is ECStream in plaintext: a stream_listener has TLS from the first byte, and is needless here"
    if (implicit or kind == "stream") and not has_certificate:
        return "has Use_SSL and no TLS_Certificate in force: Momentum can't serve it either"
    return None


def _settle_tls(kind: str, tree: _Tree, options: Options, context: _Context) -> None:
    """What the TLS of a listen is, where Momentum says it otherwise than we do."""
    implicit = context.value("tls_wrappermode") is True
    if kind == "http" and not implicit:
        options.put("tls_security_level", "none")
    if kind == "esmtp" and not implicit and context.value("tls_certificate") is None:
        options.put("tls_security_level", "none")
        options.remark(
            note(f'Listen "{tree.label}"', tree.where, "has no TLS_Certificate in force, and so no TLS")
        )


def _settle_peer(kind: str, options: Options, context: _Context) -> None:
    """A peer must not come to TLS that it has no certificate for."""
    if kind == "esmtp" and context.value("tls_certificate") is None:
        for name in ("tls_security_level", "tls_wrappermode"):
            if name in options.values:
                options.put(name, "none" if name == "tls_security_level" else False)


def _put_proxy_protocol(listener: _Tree, listen: _Tree, options: Options) -> None:
    name = "proxy_protocol"
    assignment = listen.assignments.get(name) or listener.assignments.get(name)
    if assignment is None or not boolean(assignment, options):
        return
    options.remark(
        lost(
            assignment.text,
            assignment.where,
            "Momentum believes a PROXY header from anybody. Name the networks of the balancers in proxy_protocol_from of "
            "this listen: until then no header is taken",
        )
    )
    timeout = listen.assignments.get("proxy_protocol_timeout") or listener.assignments.get(
        "proxy_protocol_timeout"
    )
    if timeout is None:
        return
    text = text_of(timeout)
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text
    if why_invalid("proxy_protocol_timeout", value) is None:
        options.put("proxy_protocol_timeout", value)
    else:
        options.remark(lost(timeout.text, timeout.where, "proxy_protocol_timeout is from 0.1 to 60 seconds"))
