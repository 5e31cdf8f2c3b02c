"""Whether a certificate may take the place of another: ``tls_certificate_guard``.

What a renewal gets wrong isn't wrong in itself: a certificate without the name that the clients ask for is a good one, for
somebody else. So the rules compare, with what was served before, and with the TLSA records that are published.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from attrs import frozen

from tlsproxy.policy.tlsa import ChainPart, TlsaRecord


@frozen
class CertificateFacts:
    """What the rules know of a certificate."""

    path: str
    """Its file, as configured."""
    names: frozenset[str]
    """DNS names, lower case, wildcards among them."""
    validity: tuple[tuple[datetime, datetime], ...]
    """When each of its chain is valid, from and to."""
    chain: tuple[ChainPart, ...]


def problems_at(certificate: CertificateFacts, now: datetime) -> Iterator[str]:
    """What time has to say."""
    begin = max(begin for begin, _ in certificate.validity)
    end = min(end for _, end in certificate.validity)
    if now < begin:
        yield f"{certificate.path}: isn't valid before {_shown(begin)}"
    if now > end:
        yield f"{certificate.path}: expired on {_shown(end)}"


def lost_names(
    before: Mapping[str, Collection[str]], certificates: Sequence[CertificateFacts]
) -> Iterator[str]:
    """Names that a file had, and that no certificate has any more. A file that is no longer configured is no loss."""
    served = {name for certificate in certificates for name in certificate.names}
    for certificate in certificates:
        lost = sorted(set(before.get(certificate.path, ())) - served)
        if lost:
            yield f"{certificate.path}: is no longer for {', '.join(lost)}, as the one in use is"


def unmatched(certificates: Iterable[CertificateFacts], records: Sequence[TlsaRecord]) -> Iterator[str]:
    """Certificates that TLSA records would have clients refuse.

    Each owner's records are a set, of which one has to match (RFC 6698 §2.1): a key that is published ahead of its use
    doesn't match yet.
    """
    sets: dict[str, list[TlsaRecord]] = {}
    for record in records:
        sets.setdefault(record.owner, []).append(record)
    for certificate in certificates:
        for owner, those in sets.items():
            about = not owner or _covers(certificate.names, those[0].host)
            if about and not any(record.matches(certificate.chain) for record in those):
                yield f"{certificate.path}: matches no TLSA record" + (f" of {owner}" if owner else "")


def _covers(names: frozenset[str], host: str) -> bool:
    """RFC 6125 §6.4.3: a wildcard stands for one label, the first."""
    return host in names or f"*.{host.partition('.')[2]}" in names


def problems(
    certificates: Sequence[CertificateFacts],
    records: Sequence[TlsaRecord],
    now: datetime,
    before: Mapping[str, Collection[str]],
) -> tuple[str, ...]:
    """Why these certificates must not be taken: nothing, as a rule.

    :param before: The names that each file had, of the certificates in use; empty at the start.
    """
    found = [problem for certificate in certificates for problem in problems_at(certificate, now)]
    found += lost_names(before, certificates)
    found += unmatched(certificates, records)
    return tuple(found)


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
