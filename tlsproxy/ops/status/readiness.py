"""Whether a service should be given sessions: what a balancer or Kubernetes asks at ``/readyz``.

A service that drains, or listens nowhere, isn't ready. Neither is one that could serve nobody, since no backend has a
server left; with one of several gone it goes on serving the others, and a balancer that cares about one asks for that one.

A server counts as gone only when an active check has found it so. One that was ejected because sessions failed comes back
when a session succeeds: without sessions it never would.
"""

from tlsproxy.ops.status.model import ServiceState, ServiceStatus
from tlsproxy.ops.status.overview import newest

_GONE = "down"


def why_not_ready(status: ServiceStatus, backend: str | None = None) -> str | None:
    """What keeps a service from being ready; None when it is.

    :param status: With its processes.
    :param backend: Only this one's sessions matter.
    """
    if status.state is ServiceState.DRAINING:
        return "draining"
    serving = newest(status)
    if not any(each.listens for each in serving):
        return "nothing listens"
    alive: dict[str, bool] = {}
    for each in (each for process in serving for each in process.backends):
        up = any(server.standing != _GONE for server in each.servers)
        alive[each.name] = alive.get(each.name, False) or up
    if backend is None:
        return None if any(alive.values()) else "no backend has a server that is up"
    if backend not in alive:
        return f"there is no backend {backend}"
    return None if alive[backend] else f"backend {backend} has no server that is up"
