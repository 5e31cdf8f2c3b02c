"""The probe: one server, tried from outside, in this order. What a check needs of the one before is handed on.

Versions come first, each tried by itself with a hello made by hand; then one handshake in full for certificates and names;
what only matters in mail; attempts that a server should end; last, with what is left of the connections, cipher suites.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from attrs import define, field

from tlsproxy.cli.server_probe.attempts import key_updates, renegotiation
from tlsproxy.cli.server_probe.certificates import certificate_findings
from tlsproxy.cli.server_probe.dialogue import DIALOGUES, Dialogue
from tlsproxy.cli.server_probe.findings import Finding, bad, ok, unknown, warn
from tlsproxy.cli.server_probe.link import Budget, Link, NoAnswer, Target
from tlsproxy.cli.server_probe.mail import keyword_findings
from tlsproxy.errors import TlsError
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.outside.answer import Answer, read_answer
from tlsproxy.tls.outside.hello import DEFLATE, GROUPS, SSL3, Hello
from tlsproxy.tls.outside.suites import OLD_SUITES, TLS13_SUITES, Weakness, weakness
from tlsproxy.tls.outside.visitor import Visitor

CONNECTIONS: Final = 150
"""How many are made at most, unless told otherwise. The checks up to the cipher suites take 15."""

TICKET_WAIT: Final = 0.5
"""Seconds for session tickets, which come right behind a TLS 1.3 handshake or not at all."""

_LABELS: Final = {SSL3: "SSLv3"} | {int(version): version.label for version in TlsVersion}

_ALPN: Final = {
    "none": ("h2", "http/1.1"),
    "smtp": ("smtp",),
    "imap": ("imap",),
    "pop3": ("pop3",),
}
"""What a client of the protocol would offer (RFC 7301, RFC 7595 registry "ALPN Protocol IDs")."""

_HANDSHAKE_FAILURES: Final = {
    40: "handshake_failure",
    70: "protocol_version",
    71: "insufficient_security",
    47: "illegal_parameter",
}


@define
class Probe:
    """One server."""

    target: Target
    protocol: str
    """A key of ``DIALOGUES``."""
    expected: TlsProtocols | None = None
    """The versions that it has to accept, and no others."""
    authorities: str | None = None
    """PEM file; None: the machine's."""
    budget: Budget = field(factory=lambda: Budget(CONNECTIONS))
    _accepted: dict[int, Answer] = field(init=False, factory=dict)

    def run(self) -> Iterator[Finding]:
        """Every finding, as it is made.

        :raises NoAnswer: The server can't be reached, or doesn't come to speak of TLS.
        """
        with self._link() as link:
            dialogue = self._dialogue()
            plain = dialogue.open(link)
        if self.protocol != "none":
            yield from keyword_findings(self.protocol, plain)
        yield from self._versions()
        if not self._accepted:
            return
        for what, check in self._checks(plain).items():
            try:
                yield from check()
            except (NoAnswer, TlsError, OSError) as error:
                yield unknown(what, str(error))
        yield from self._suites()

    def _checks(self, plain: list[str]) -> dict[str, Callable[[], Iterator[Finding]]]:
        checks: dict[str, Callable[[], Iterator[Finding]]] = {
            "secure renegotiation": self._secure_renegotiation,
            "compression": self._compression,
            "certificate": self._handshake,
            "session resumption": self._resumption,
            "ALPN": self._alpn,
        }
        if self.protocol != "none":
            checks["keywords in TLS"] = lambda: self._keywords_in_tls(plain)
            checks["STARTTLS injection"] = self._injection
        checks["client renegotiation"] = self._renegotiation
        checks["KeyUpdate"] = self._key_updates
        return checks

    # Connections

    def _link(self) -> Link:
        return Link.open(self.target, self.budget)

    def _dialogue(self) -> Dialogue:
        return DIALOGUES[self.protocol]()

    def _up_to_tls(self, link: Link, behind: bytes = b"") -> Dialogue:
        dialogue = self._dialogue()
        dialogue.open(link)
        dialogue.ask_for_tls(link, behind)
        return dialogue

    def _say(self, hello: Hello) -> Answer:
        """What is answered to a hello.

        :raises NoAnswer: The server doesn't.
        """
        with self._link() as link:
            self._up_to_tls(link)
            link.send_raw(hello.to_bytes())
            said = b""
            while True:
                received = link.receive_raw()
                said += received
                answer = read_answer(said, ended=not received)
                if answer is not None:
                    if answer.not_tls:
                        raise NoAnswer(f"the server doesn't speak TLS here: it says {answer.not_tls!r}")
                    return answer

    def _visitor(
        self, versions: list[TlsVersion], *, alpn: tuple[str, ...] = (), for_key_updates: bool = False
    ) -> Visitor:
        return Visitor.create(
            versions,
            server_name=self.target.name,
            authorities=self.authorities,
            alpn=alpn,
            for_key_updates=for_key_updates,
        )

    @property
    def _versions_spoken(self) -> list[TlsVersion]:
        """Accepted ones that the TLS library speaks, too, without a gap."""
        accepted = [version for version in TlsVersion if version in self._accepted]
        return [version for version in TlsVersion if accepted and accepted[0] <= version <= accepted[-1]]

    @property
    def _highest_renegotiable(self) -> TlsVersion | None:
        """TLS 1.3 has no renegotiation."""
        below = [
            version for version in TlsVersion if version in self._accepted and version < TlsVersion.TLS1_3
        ]
        return max(below, default=None)

    # Checks

    def _versions(self) -> Iterator[Finding]:
        """:raises NoAnswer: The first one isn't answered as TLS is: there is none here."""
        for version, label in sorted(_LABELS.items(), reverse=True):
            # RFC 8446 §4.1.2: a TLS 1.3 client that offers compression is refused for it.
            compression = version < TlsVersion.TLS1_3
            hello = Hello(
                version, list(_suites_of(version)), server_name=self.target.name, compression=compression
            )
            try:
                answer = self._say(hello)
            except NoAnswer as error:
                if version == max(_LABELS):
                    raise
                yield unknown(label, str(error))
                continue
            if answer.accepted and answer.version == version:
                self._accepted[version] = answer
                yield self._accepted_version(version, label, answer)
            else:
                yield self._refused_version(label, answer)
        if not self._accepted:
            yield bad("versions", "no version is accepted")

    def _accepted_version(self, version: int, label: str, answer: Answer) -> Finding:
        suite = _suites_of(version).get(answer.suite, f"0x{answer.suite:04X}")
        group = _group(answer)
        detail = f"accepted, with {suite}{f', {group}' if group else ''}"
        facts = {"accepted": True, "cipher": suite, "group": group}
        if self.expected is not None:
            if self.expected.allows(version):
                return ok(label, detail, **facts)
            return bad(label, f"{detail}; not in {self.expected.text}", **facts)
        if version == SSL3:
            return bad(label, f"{detail} (RFC 7568: POODLE)", **facts)
        if version < TlsVersion.TLS1_2:
            return warn(label, f"{detail} (RFC 8996: not to be used)", **facts)
        return ok(label, detail, **facts)

    def _refused_version(self, label: str, answer: Answer) -> Finding:
        how = "refused"
        if answer.alert is not None:
            how += f" by the alert {_HANDSHAKE_FAILURES.get(answer.alert, answer.alert)}"
        elif answer.version:
            how += f": {_LABELS.get(answer.version, hex(answer.version))} is proposed instead"
        return ok(label, how, accepted=False)

    def _secure_renegotiation(self) -> Iterator[Finding]:
        version = self._highest_renegotiable
        if version is None:
            yield ok("secure renegotiation", "not needed: TLS 1.3 has no renegotiation", supported=None)
        elif self._accepted[version].secure_renegotiation:
            yield ok("secure renegotiation", "supported (RFC 5746)", supported=True)
        else:
            yield bad("secure renegotiation", "not supported (RFC 5746; CVE-2009-3555)", supported=False)

    def _compression(self) -> Iterator[Finding]:
        if any(answer.compression == DEFLATE for answer in self._accepted.values()):
            yield bad("compression", "DEFLATE is accepted (CRIME, CVE-2012-4929)", compression=True)
        else:
            yield ok("compression", "none, though it was offered", compression=False)

    def _handshake(self) -> Iterator[Finding]:
        visitor = self._visitor(self._versions_spoken)
        with self._link() as link:
            self._up_to_tls(link)
            link.start_tls(visitor)
        yield ok(
            "handshake",
            f"{visitor.version} with {visitor.cipher}, {visitor.group or 'RSA key exchange'}",
            version=visitor.version,
            cipher=visitor.cipher,
            group=visitor.group,
        )
        yield from certificate_findings(
            visitor.chain,
            visitor.verify_error,
            self.target.name,
            datetime.now(UTC),
            # Who sends mail to a stranger's server doesn't verify (RFC 7435), unless somebody says who it should be.
            opportunistic=self.protocol == "smtp" and self.authorities is None,
        )

    def _resumption(self) -> Iterator[Finding]:
        resumed = {}
        for version in (TlsVersion.TLS1_2, TlsVersion.TLS1_3):
            if version in self._accepted:
                resumed[version.label] = self._resumes(version)
        told = ", ".join(f"{label}: {'yes' if each else 'no'}" for label, each in resumed.items())
        yield ok("session resumption", told or "not tried below TLS 1.2", **resumed)

    def _resumes(self, version: TlsVersion) -> bool:
        first = self._visitor([version])
        with self._link() as link:
            self._up_to_tls(link)
            link.start_tls(first)
            if version == TlsVersion.TLS1_3:
                with suppress(NoAnswer):
                    first.receive(link.receive_raw(TICKET_WAIT))
        second = first.again()
        with self._link() as link:
            self._up_to_tls(link)
            link.start_tls(second)
        return second.resumed

    def _alpn(self) -> Iterator[Finding]:
        offered = _ALPN[self.protocol]
        visitor = self._visitor(self._versions_spoken, alpn=offered)
        try:
            with self._link() as link:
                self._up_to_tls(link)
                link.start_tls(visitor)
        except TlsError as error:
            yield ok("ALPN", f"refuses {' '.join(offered)}: {error}", selected=None, offered=list(offered))
            return
        detail = f"{visitor.alpn or 'none'} (offered: {' '.join(offered)})"
        yield ok("ALPN", detail, selected=visitor.alpn, offered=list(offered))

    def _keywords_in_tls(self, plain: list[str]) -> Iterator[Finding]:
        with self._link() as link:
            dialogue = self._up_to_tls(link)
            link.start_tls(self._visitor(self._versions_spoken))
            told = dialogue.keywords(link)
        again = [word for word in told if word in ("STARTTLS", "STLS")]
        new = [word for word in told if word not in plain]
        detail = f"{len(told)}, only there: {', '.join(new) or 'none'}"
        yield ok("keywords in TLS", detail, keywords=told)
        if again:
            yield warn("STARTTLS again", f"{again[0]} is offered in TLS, too (RFC 3207 §4.2)", offered=True)
        else:
            yield ok("STARTTLS again", "isn't offered in TLS", offered=False)

    def _injection(self) -> Iterator[Finding]:
        what, injected = "STARTTLS injection", self._dialogue().injected
        with self._link() as link:
            dialogue = self._dialogue()
            dialogue.open(link)
            try:
                dialogue.ask_for_tls(link, injected)
                link.start_tls(self._visitor(self._versions_spoken))
            except (NoAnswer, TlsError) as error:
                yield ok(what, f"the session ends: {error}", executed=False)
                return
            said = dialogue.farewell(link)
        if len(said) > 1 or (said and said[0].startswith(dialogue.carried_out)):
            yield bad(
                what,
                f"plaintext behind STARTTLS is carried out in TLS (CVE-2011-0411): {said[0]}",
                executed=True,
            )
        elif said:
            yield ok(what, "plaintext behind STARTTLS is thrown away", executed=False)
        else:
            yield unknown(what, "the server says nothing in TLS")

    def _renegotiation(self) -> Iterator[Finding]:
        version = self._highest_renegotiable
        if version is None:
            yield ok("client renegotiation", "there is none in TLS 1.3", outcome="impossible")
            return
        with self._link() as link:
            self._up_to_tls(link)
            visitor = self._visitor([version])
            link.start_tls(visitor)
            yield renegotiation(link, visitor)

    def _key_updates(self) -> Iterator[Finding]:
        if TlsVersion.TLS1_3 not in self._accepted:
            yield ok("KeyUpdate", "there is none below TLS 1.3", outcome="impossible")
            return
        with self._link() as link:
            self._up_to_tls(link)
            visitor = self._visitor([TlsVersion.TLS1_3], for_key_updates=True)
            link.start_tls(visitor)
            yield key_updates(link, visitor)

    # Cipher suites

    def _suites(self) -> Iterator[Finding]:
        for version in sorted(self._accepted, reverse=True):
            label = f"{_LABELS[version]} cipher suites"
            names, why_incomplete = self._accepted_suites(version)
            yield from self._judged(label, names, why_incomplete)
            if len(names) > 1 and not why_incomplete:
                yield from self._order(version, names)

    def _accepted_suites(self, version: int) -> tuple[dict[int, str], str]:
        """By number, in the order in which they are chosen; and why there may be more."""
        left, found = dict(_suites_of(version)), {}
        try:
            while left:
                answer = self._say(Hello(version, list(left), server_name=self.target.name))
                if not answer.accepted or answer.version != version or answer.suite not in left:
                    break
                found[answer.suite] = left.pop(answer.suite)
        except NoAnswer as error:
            return found, str(error)
        return found, ""

    def _judged(self, label: str, names: dict[int, str], why_incomplete: str) -> Iterator[Finding]:
        weak: dict[Weakness, list[str]] = {}
        for name in names.values():
            if (worst := weakness(name)) is not None:
                weak.setdefault(worst, []).append(name)
        facts = {"suites": list(names.values()), "complete": not why_incomplete}
        detail = ", ".join(names.values()) or "none"
        if why_incomplete:
            yield unknown(label, f"{detail}; more may be accepted, {why_incomplete}", **facts)
        else:
            yield ok(label, detail, **facts)
        for worst, of_them in weak.items():
            judge = bad if worst in self._unacceptable else warn
            yield judge(
                f"{label}, weak", f"{worst.value}: {', '.join(of_them)}", weakness=worst.name, suites=of_them
            )

    @property
    def _unacceptable(self) -> set[Weakness]:
        """Mail that would go in plaintext otherwise is no worse off without authentication (RFC 7435)."""
        harmless = {Weakness.SMALL_BLOCKS, Weakness.NO_FORWARD_SECRECY}
        return set(Weakness) - harmless - ({Weakness.NO_AUTHENTICATION} if self.protocol == "smtp" else set())

    def _order(self, version: int, names: dict[int, str]) -> Iterator[Finding]:
        what = f"{_LABELS[version]} cipher order"
        first, *_, last = names
        try:
            answer = self._say(Hello(version, [last, first], server_name=self.target.name))
        except NoAnswer as error:
            yield unknown(what, str(error))
            return
        order = "server" if answer.suite == first else "client"
        yield ok(what, f"the {order}'s", order=order)


def _suites_of(version: int) -> dict[int, str]:
    return dict(TLS13_SUITES if version == TlsVersion.TLS1_3 else OLD_SUITES)


def _group(answer: Answer) -> str | None:
    if answer.group is not None:
        return GROUPS.get(answer.group, f"group 0x{answer.group:04X}")
    return f"DH {answer.dh_bits} bits" if answer.dh_bits is not None else None
