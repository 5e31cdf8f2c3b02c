"""What the processes of a service say, taken together."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import Factory, define, frozen

from tlsproxy.ops.status.model import (
    BackendStatus,
    CertificateStatus,
    ListenStatus,
    ProcessStatus,
    ServiceState,
    ServiceStatus,
)
from tlsproxy.ops.status.words import day, plural

OUT: Final = ("ejected", "down")
"""How a server stands that gets no sessions, but as a last resort."""

SOON: Final = 14
"""Days before a certificate's end that it is worth a word: renewal happens 30 days before."""


@define
class ServerView:
    """One server, as the processes see it."""

    address: str
    standings: Counter[str] = Factory(Counter)
    """How many processes see it so."""
    busy: int = 0
    idle: int = 0
    pending: int = 0

    @property
    def standing(self) -> str:
        """The worst that a process sees."""
        return next(each for each in ("down", "ejected", "returning", "up") if self.standings[each])

    @property
    def is_out(self) -> bool:
        """No process gives it sessions."""
        return all(each in OUT for each in self.standings)


@define
class BackendView:
    """One backend, as the processes see it."""

    name: str
    policy: str
    checked: bool
    waiting: int = 0
    servers: dict[str, ServerView] = Factory(dict)

    def take(self, status: BackendStatus) -> None:
        """Add what one process sees."""
        self.waiting += status.waiting
        for each in status.servers:
            view = self.servers.setdefault(each.address, ServerView(each.address))
            view.standings[each.standing] += 1
            view.busy += each.busy
            view.idle += each.idle
            view.pending += each.pending


@frozen
class Finding:
    """Something that an operator should look at."""

    grave: bool
    message: str
    section: str
    """Where the page says more."""


def newest(status: ServiceStatus) -> list[ProcessStatus]:
    """The processes that take new sessions."""
    generation = max((each.generation for each in status.processes), default=0)
    return [each for each in status.processes if each.generation == generation]


def listens(status: ServiceStatus) -> list[ListenStatus]:
    """What is listened on, in the order of the configuration."""
    return list({each.name: each for process in newest(status) for each in process.listens}.values())


def backends(status: ServiceStatus) -> list[BackendView]:
    """The backends that new sessions go to."""
    views: dict[str, BackendView] = {}
    for each in (each for process in newest(status) for each in process.backends):
        view = views.setdefault(each.name, BackendView(each.name, each.policy, each.checked))
        view.take(each)
    return list(views.values())


def certificates(status: ServiceStatus) -> list[CertificateStatus]:
    """The certificates that new sessions see, those that end first before the others."""
    found: Mapping[tuple[str, str], CertificateStatus] = {
        (each.path, each.sha256): each for process in newest(status) for each in process.certificates
    }
    return sorted(found.values(), key=lambda each: (each.not_after, each.path))


def days_left(certificate: CertificateStatus, now: float) -> int:
    """Whole days; negative once it has ended."""
    return int((certificate.not_after - now) // 86400)


def findings(status: ServiceStatus, now: float) -> list[Finding]:
    """What is wrong, the grave before the others."""
    found = [
        *_of_service(status),
        *_of_backends(backends(status)),
        *(finding for each in certificates(status) for finding in _of_certificate(each, now)),
    ]
    return sorted(found, key=lambda each: not each.grave)


def _of_service(status: ServiceStatus) -> Iterable[Finding]:
    if status.state is ServiceState.DRAINING:
        yield Finding(grave=False, message="The service drains: it takes no new sessions", section="service")
    elif not listens(status):
        yield Finding(grave=True, message="Nothing listens", section="service")
    serving = len(newest(status))
    if serving < status.workers and status.state is ServiceState.RUNNING:
        message = f"{serving} of {plural(status.workers, 'worker')} at work"
        yield Finding(grave=serving == 0, message=message, section="service")
    if status.last_reload is not None and not status.last_reload.ok:
        message = "The last reload was refused: what was in force before still is"
        yield Finding(grave=True, message=message, section="service")


def _of_backends(views: Iterable[BackendView]) -> Iterable[Finding]:
    for view in views:
        out = [server.address for server in view.servers.values() if server.is_out]
        if out and len(out) == len(view.servers):
            message = f"Backend {view.name} has no server left"
            yield Finding(grave=True, message=message, section="backends")
        else:
            for address in out:
                message = f"Backend {view.name}: server {address} is out"
                yield Finding(grave=False, message=message, section="backends")


def _of_certificate(certificate: CertificateStatus, now: float) -> Iterable[Finding]:
    left = days_left(certificate, now)
    if left < 0:
        message = f"Certificate {certificate.path} ended on {day(certificate.not_after)}"
        yield Finding(grave=True, message=message, section="certificates")
    elif left < SOON:
        message = f"Certificate {certificate.path} ends in {plural(left, 'day')}"
        yield Finding(grave=False, message=message, section="certificates")
