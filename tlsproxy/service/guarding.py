"""``tls_certificate_guard``: the certificates of a configuration, judged before they are used."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tlsproxy.config.model import Configuration
from tlsproxy.errors import Problem
from tlsproxy.policy.certificate_guard import CertificateFacts, problems
from tlsproxy.policy.tlsa import ChainPart, TlsaError, TlsaRecord, parse_tlsa
from tlsproxy.tls.certificates import Certificate
from tlsproxy.tls.files import FileError, read_file

_GUARD = "tls_certificate_guard"
_TLSA = "tls_certificate_tlsa"
_OTHERS_WRITE = 0o002


def read_records(configuration: Configuration) -> tuple[Sequence[TlsaRecord], tuple[Problem, ...]]:
    """The TLSA records of ``tls_certificate_tlsa``, or what is wrong with the file."""
    path = configuration.tls_certificate_tlsa
    if path is None:
        return (), ()
    try:
        content = read_file(path, forbidden_mode=_OTHERS_WRITE, forbidden="writable")
        records = parse_tlsa(content.decode("ascii", "backslashreplace"))
    except (FileError, TlsaError) as error:
        return (), (Problem(_TLSA, f"{path}: {error}"),)
    if not records:
        return (), (Problem(_TLSA, f"{path}: has no TLSA record in it"),)
    return records, ()


def judged(
    configuration: Configuration,
    certificates: Iterable[Certificate],
    records: Sequence[TlsaRecord],
    before: Mapping[str, Collection[str]],
) -> Iterator[Problem]:
    """What ``tls_certificate_guard`` has against ``certificates``; nothing where it isn't set.

    :param before: The names that each file had, of the certificates in use; empty at the start.
    """
    if configuration.tls_certificate_guard:
        facts = [_facts(certificate) for certificate in certificates]
        for problem in problems(facts, records, datetime.now(UTC), before):
            yield Problem(_GUARD, problem)


def _facts(certificate: Certificate) -> CertificateFacts:
    return CertificateFacts(
        path=certificate.path,
        names=certificate.names,
        validity=tuple((each.not_valid_before_utc, each.not_valid_after_utc) for each in certificate.chain),
        chain=tuple(
            ChainPart(
                each.public_bytes(Encoding.DER),
                each.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            )
            for each in certificate.chain
        ),
    )
