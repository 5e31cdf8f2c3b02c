"""What is to be said about a server's certificates."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tlsproxy.cli.server_probe.findings import Finding, bad, ok, warn
from tlsproxy.errors import HandshakeFailed
from tlsproxy.tls.reasons import VerifyError
from tlsproxy.tls.verify import check_name

RENEWAL: Final = timedelta(days=14)
"""Less left than this: whatever renews it should have done so (Let's Encrypt has 30 days left of 90 when it does)."""

MIN_RSA_BITS: Final = 2048
"""RFC 9325 §4.4."""

MIN_EC_BITS: Final = 224

_WEAK_HASHES: Final = ("md5", "sha1")
"""RFC 9155, RFC 6151."""


def certificate_findings(
    chain: Sequence[x509.Certificate],
    verify_error: VerifyError | None,
    name: str,
    now: datetime,
    *,
    opportunistic: bool,
) -> Iterator[Finding]:
    """Judge a chain, the server's own certificate first.

    :param name: Who the server should be.
    :param opportunistic: Clients don't verify: what keeps verification from succeeding is a warning.
    """
    if not chain:
        yield bad("certificate", "none is shown")
        return
    unverified = warn if opportunistic else bad
    yield _chain(chain, verify_error, unverified)
    yield _name(chain[0], name, unverified)
    yield _validity(chain[0], now)
    yield _key(chain[0])
    yield _signatures(chain)


Judge = Callable[..., Finding]


def _chain(chain: Sequence[x509.Certificate], verify_error: VerifyError | None, unverified: Judge) -> Finding:
    subjects = [each.subject.rfc4514_string() for each in chain]
    self_signed = chain[0].issuer == chain[0].subject
    told = " < ".join(subject or "(no subject)" for subject in subjects)
    facts = {"subjects": subjects, "self_signed": self_signed, "verified": verify_error is None}
    if verify_error is None:
        return ok("certificate chain", f"verified: {told}", **facts)
    return unverified("certificate chain", f"not verified, {verify_error}: {told}", **facts)


def _name(certificate: x509.Certificate, name: str, unverified: Judge) -> Finding:
    names = _names(certificate)
    try:
        check_name(certificate, name)
    except HandshakeFailed as error:
        _, _, why = str(error).partition(": ")
        return unverified("certificate names", why, names=names, wanted=name, matches=False)
    return ok("certificate names", ", ".join(names), names=names, wanted=name, matches=True)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return []
    return [str(each.value) for each in extension]


def _validity(certificate: x509.Certificate, now: datetime) -> Finding:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    what, days = "certificate validity", (end - now).days
    facts = {"not_before": begin.isoformat(), "not_after": end.isoformat(), "days_left": days}
    if now > end:
        return bad(what, f"expired on {end:%Y-%m-%d}", **facts)
    if now < begin:
        return bad(what, f"not valid before {begin:%Y-%m-%d %H:%M} UTC", **facts)
    detail = f"until {end:%Y-%m-%d}, {days} days left"
    return warn(what, detail, **facts) if end - now < RENEWAL else ok(what, detail, **facts)


def _key(certificate: x509.Certificate) -> Finding:
    what = "certificate key"
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        return warn(what, f"can't be read: {error}")
    if isinstance(key, rsa.RSAPublicKey):
        judge = ok if key.key_size >= MIN_RSA_BITS else bad
        return judge(what, f"RSA, {key.key_size} bits", type="RSA", bits=key.key_size)
    if isinstance(key, ec.EllipticCurvePublicKey):
        judge = ok if key.key_size >= MIN_EC_BITS else bad
        return judge(what, f"ECDSA, {key.curve.name}", type="ECDSA", bits=key.key_size)
    kind = type(key).__name__.removesuffix("PublicKey")
    return ok(what, kind, type=kind, bits=None)


def _signatures(chain: Sequence[x509.Certificate]) -> Finding:
    """That of a root is never looked at: it is trusted or not, whoever signed it."""
    what = "certificate signature"
    signed = [each for each in chain if each.issuer != each.subject] or [chain[0]]
    hashes = [_hash(each) for each in signed]
    weak = sorted(set(hashes) & set(_WEAK_HASHES))
    if weak:
        return bad(what, f"with {', '.join(weak)}, which can be forged", hashes=hashes)
    return ok(what, ", ".join(dict.fromkeys(hashes)), hashes=hashes)


def _hash(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return certificate.signature_algorithm_oid.dotted_string
    return algorithm.name if algorithm is not None else "part of the algorithm"
