"""The report in a few figures: what each candidate would refuse, at each listen."""

from collections.abc import Iterable, Mapping

from attrs import frozen

from tlsproxy.ops.report.entries import SessionCount


@frozen(kw_only=True)
class Summary:
    """What one candidate would do at one listen."""

    listen: str
    candidate: str
    sessions: int
    """Sessions that were looked at."""
    refused: int
    """Those among them that it would refuse."""
    refused_versions: Mapping[str, int]
    """These by the version negotiated, the oldest first."""
    networks: int
    """Networks that they came from, as far as they are remembered."""
    first_day: int
    """Of the sessions looked at; in days since the epoch, UTC."""

    @property
    def share(self) -> float:
        """The part that it would refuse, 0 to 1."""
        return self.refused / self.sessions if self.sessions else 0.0


def summaries(counts: Iterable[SessionCount], networks: Mapping[tuple[str, str], int]) -> list[Summary]:
    """One summary for each listen and candidate that sessions were looked at for, in the order of their names.

    :param networks: Their number, by listen and candidate.
    """
    by_policy: dict[tuple[str, str], list[SessionCount]] = {}
    for count in counts:
        by_policy.setdefault((count.listen, count.candidate), []).append(count)
    return [_summary(policy, by_policy[policy], networks.get(policy, 0)) for policy in sorted(by_policy)]


def _summary(policy: tuple[str, str], counts: list[SessionCount], networks: int) -> Summary:
    listen, candidate = policy
    versions = sorted({count.version for count in counts if count.refused})
    return Summary(
        listen=listen,
        candidate=candidate,
        sessions=sum(count.sessions for count in counts),
        refused=sum(count.refused for count in counts),
        refused_versions={
            version: sum(count.refused for count in counts if count.version == version)
            for version in versions
        },
        networks=networks,
        first_day=min(count.day for count in counts),
    )
