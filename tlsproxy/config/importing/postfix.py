"""Postfix's configuration to ours: a listener and a backend for each service that clients reach by TCP."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from attrs import define, field, frozen

from tlsproxy.config.addresses import TcpAddress
from tlsproxy.config.importing.document import Entry, Table, header
from tlsproxy.config.importing.options import Options, drop_unusable_ciphers, shared, why_invalid
from tlsproxy.config.importing.postfix_addresses import Place, place_of
from tlsproxy.config.importing.postfix_files import Service, Setting, parse_main, parse_master
from tlsproxy.config.importing.postfix_parameters import Parameters
from tlsproxy.config.importing.postfix_smtpd import translated
from tlsproxy.config.importing.remarks import Imported, ImportFailed, Remark, each_once, lost, note
from tlsproxy.config.networks import parse_network
from tlsproxy.config.tables import OPTIONS

_PORT_25 = Service("smtp", "inet", "smtpd", {}, "no master.cf")


@frozen
class _Entrance:
    """A service that clients come to."""

    service: Service
    name: str
    """Of its backend."""
    place: Place
    options: Options
    exempt: Sequence[str]
    """Networks without limits."""


def import_postfix(
    main: str, master: str | None, *, servers: Sequence[str] = (), ciphers_work: Callable[[str], bool] = bool
) -> Imported:
    """Translate.

    :param main: ``main.cf``, or the output of ``postconf -n``.
    :param master: ``master.cf``; without it there is port 25 alone.
    :param servers: Where Postfix will listen for tlsproxy, for every backend.
    :param ciphers_work: Whether the TLS library finds a suite in a list.
    :raises ImportFailed: There is no service that tlsproxy could stand in front of.
    """
    importer = _Importer(servers, ciphers_work)
    importer.read(main, master)
    importer.remarks += [remark for each in importer.entrances for remark in each.options.remarks]
    if not importer.entrances:
        raise ImportFailed(
            "master.cf has no smtpd service that clients reach by TCP", each_once(importer.remarks)
        )
    remarks = tuple(each_once(importer.remarks))
    document = importer.document()
    document.say_the_rest(remark.comment for remark in remarks)
    return Imported(document.render(), remarks)


@define
class _Importer:
    servers: Sequence[str]
    ciphers_work: Callable[[str], bool]
    remarks: list[Remark] = field(factory=list)
    top: Options = field(factory=Options)
    entrances: list[_Entrance] = field(factory=list)

    def read(self, main: str, master: str | None) -> None:
        settings, problems = parse_main(main)
        self.top.remark(*problems)
        services: Sequence[Service] = (_PORT_25,)
        if master is None:
            self.top.remark(
                note(
                    "",
                    "",
                    "no master.cf was given: here is the service on port 25, and no other that Postfix may have",
                )
            )
        else:
            services, problems = parse_master(master)
            self.top.remark(*problems)
        _put_hostname(Parameters(settings), self.top)
        self._enter(services, settings)
        self.remarks += self.top.remarks

    def _enter(self, services: Sequence[Service], settings: Mapping[str, Setting]) -> None:
        behind = next((each for each in services if (each.type, each.command) == ("pass", "smtpd")), None)
        found = []
        for service in services:
            if service.type != "inet" or service.command not in ("smtpd", "postscreen"):
                continue
            passed = behind.overrides if behind is not None and service.command == "postscreen" else {}
            parameters = Parameters({**settings, **passed, **service.overrides})
            options = Options()
            place = place_of(service, parameters, options)
            if place is None:
                self.top.remark(*options.remarks)
            else:
                found.append((service, parameters, options, place))
        public = [each for each in found if not each[3].loopback]
        for service, parameters, options, place in public or found:
            self._add(service, parameters, options, place)
        for service, _, _, _ in found if public else ():
            if any(service is each for each, *_ in public):
                continue
            message = "only this machine reaches it, a content filter maybe: it is left to Postfix"
            self.top.remark(note(service.name, service.where, message))

    def _add(self, service: Service, parameters: Parameters, options: Options, place: Place) -> None:
        free = tuple(address for address in place.addresses if self._is_free(address))
        if free != place.addresses:
            message = "is an address of another service as well"
            options.remark(lost(service.name, service.where, message))
        smtpd = translated(parameters, postscreen=service.command == "postscreen")
        drop_unusable_ciphers(smtpd.options, self.ciphers_work)
        options.values.update(smtpd.options.values)
        options.remark(*smtpd.options.remarks)
        if service.command == "postscreen":
            options.remark(lost(f"{service.name} … postscreen", service.where, _POSTSCREEN))
        _remark_proxy_protocol(service, parameters, options)
        exempt = list(_exempt(parameters, options))
        if not smtpd.usable or not free:
            why = (
                "no listen is made of it: Postfix serves nobody there"
                if free
                else "no address is left for it"
            )
            self.top.remark(*options.remarks, lost(service.name, service.where, why))
            return
        name = self._name(place.port)
        place = Place(place.port, free, place.loopback)
        self.entrances.append(_Entrance(service, name, place, options, exempt))

    def _is_free(self, address: TcpAddress) -> bool:
        taken = {each for entrance in self.entrances for each in entrance.place.addresses}
        same_port = [
            each for each in taken if each.port == address.port and _version(each) == _version(address)
        ]
        wild = any(ip_address(each.host).is_unspecified for each in (*same_port, address))
        return address not in taken and not (same_port and wild)

    def _name(self, port: int) -> str:
        name = {25: "smtp", 465: "submissions", 587: "submission"}.get(port, f"port-{port}")
        used = {entrance.name for entrance in self.entrances}
        return next(
            each for each in (name, *(f"{name}-{number}" for number in range(2, 1000))) if each not in used
        )

    def document(self) -> Table:
        common = shared([entrance.options for entrance in self.entrances])
        backends = dict(self._backends())
        top = Table(comments=_preface(self.entrances, backends if not self.servers else {}))
        top.comments += self.top.loose_comments()
        top.entries = Options({**self.top.values, **common.values}).entries()
        top.remarks = common.loose_comments()
        top.tables = [
            Table(header("backend", name), entries=[Entry("servers", servers), Entry("identity", "xclient")])
            for name, servers in backends.items()
        ]
        top.tables += [_listener(entrance) for entrance in self.entrances]
        return top

    def _backends(self) -> Iterator[tuple[str, list[str]]]:
        """Each backend with its servers: those given, or a port of Postfix's own."""
        taken = {address.port for entrance in self.entrances for address in entrance.place.addresses}
        for entrance in self.entrances:
            wanted = {25: 2525}.get(entrance.place.port, 2000 + entrance.place.port % 60_000)
            port = next(each for each in range(wanted, 65_536) if each not in taken)
            taken.add(port)
            yield entrance.name, list(dict.fromkeys(self.servers)) or [f"127.0.0.1:{port}"]


def _version(address: TcpAddress) -> int:
    return ip_address(address.host).version


def _put_hostname(parameters: Parameters, options: Options) -> None:
    if parameters.is_set("myhostname"):
        name, where = parameters.text("myhostname"), parameters.where("myhostname")
        options.put("smtp_hostname", parameters.string("myhostname"), setting=name, where=where)
    options.remark(*parameters.remarks)


_POSTSCREEN = (
    "behind tlsproxy postscreen would judge tlsproxy's own address. Let smtpd listen for tlsproxy, with XCLIENT, or set "
    'postscreen_upstream_proxy_protocol = haproxy there and identity = "proxy_v2" here'
)


def _remark_proxy_protocol(service: Service, parameters: Parameters, options: Options) -> None:
    prefix = "postscreen" if service.command == "postscreen" else "smtpd"
    name = f"{prefix}_upstream_proxy_protocol"
    if parameters.string(name):
        message = (
            "Postfix believes a PROXY header from anybody. Name the networks of the balancers in proxy_protocol_from of "
            "each listen: until then their headers are refused as bad commands"
        )
        options.remark(parameters.lost(name, message))


_PER_PEER = ("max_sessions_per_peer", "session_rate_per_peer", "handshake_rate_per_peer")


def _exempt(parameters: Parameters, options: Options) -> Iterator[str]:
    """The networks that Postfix has no limits for, where it is told of any and has limits that were carried over."""
    limits = [name for name in _PER_PEER if name in options.values and options.values[name].value]
    name = "smtpd_client_event_limit_exceptions"
    if not limits or not (parameters.is_set(name) or parameters.is_set("mynetworks")):
        return
    seen = set()
    for pattern in parameters.strings(name):
        try:
            network = str(parse_network(pattern.replace("[", "").replace("]", "")))
        except ValueError:
            options.remark(
                parameters.lost(name, f"{pattern}: exceptions from limits are networks in CIDR notation")
            )
            continue
        if network not in seen:
            seen.add(network)
            yield network


def _listener(entrance: _Entrance) -> Table:
    listener = Table(
        header("esmtp_listener", array=True),
        comments=[f"{entrance.service.name} … {entrance.service.command} ({entrance.service.where})"],
        entries=[Entry("backend", entrance.name), *entrance.options.entries()],
        remarks=entrance.options.loose_comments(),
    )
    zero = [name for name in _PER_PEER if name in OPTIONS]
    listener.tables = [
        Table(
            header("esmtp_listener", "peer", array=True),
            entries=[Entry("network", network), *(Entry(name, 0) for name in zero)],
        )
        for network in entrance.exempt
    ]
    listener.tables += [
        Table(header("esmtp_listener", "listen", array=True), entries=[Entry("address", str(address))])
        for address in entrance.place.addresses
        if why_invalid("address", str(address)) is None
    ]
    return listener


def _preface(entrances: Sequence[_Entrance], backends: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [
        "Written by `tlsproxy import postfix`: the TLS of these services, for tlsproxy in front of Postfix."
    ]
    if backends:
        lines.append(
            "Postfix needs ports of its own for it. In master.cf, in the place of the services here, keeping their other "
            "-o settings:"
        )
    for entrance in entrances:
        for server in backends.get(entrance.name, ()):
            lines += [
                f"  {server} inet n - y - - smtpd",
                "    -o smtpd_tls_security_level=none -o smtpd_tls_wrappermode=no -o smtpd_tls_auth_only=no",
                "    -o smtpd_authorized_xclient_hosts=127.0.0.1",
                "    -o smtpd_client_event_limit_exceptions=127.0.0.1",
            ]
    lines.append("Then `tlsproxy check` this file.")
    return lines
