"""Rules over more than one option, on the settings as they are in force: a scope alone may well break them."""

from collections.abc import Iterable, Iterator

from tlsproxy.config.resolve import Origin, Resolution
from tlsproxy.config.settings import Settings, VerifyMode
from tlsproxy.errors import Problem
from tlsproxy.fronts import Kind
from tlsproxy.fronts.options import TlsSecurityLevel
from tlsproxy.policy.candidate import is_stricter, refuses_nobody


def offers_tls(settings: Settings, kind: Kind) -> bool:
    """Whether a session can come to a handshake with its client."""
    return (
        kind.tls_from_start
        or settings.tls_wrappermode
        or settings.tls_security_level is not TlsSecurityLevel.NONE
    )


def check_settings(resolution: Resolution, kind: Kind) -> Iterator[Problem]:
    """What is wrong with settings for a listener of this kind, at the key to mend."""
    if offers_tls(resolution.settings, kind):
        yield from _certificates(resolution)
    yield from _client_ca(resolution)


def _certificates(resolution: Resolution) -> Iterator[Problem]:
    certificates = resolution.settings.tls_certificate
    keys = resolution.settings.tls_key
    if not certificates:
        yield Problem(
            resolution.where("tls_certificate"),
            "no certificate is in force here: name a PEM file, here or in a wider scope",
        )
    elif keys and len(keys) != len(certificates):
        yield Problem(
            resolution.where("tls_key"),
            f"must name as many files as tls_certificate, {len(certificates)}, not {len(keys)}; or none, if each key is in "
            f"its certificate's file{_elsewhere(resolution)}",
        )


def _elsewhere(resolution: Resolution) -> str:
    """Where the certificates of a key come from, if from another scope: setting one and inheriting the other is a slip."""
    key: Origin = resolution.origins["tls_key"]
    certificate = resolution.origins["tls_certificate"]
    return "" if key.scope == certificate.scope else f" (tls_certificate is set by {certificate.path})"


def _client_ca(resolution: Resolution) -> Iterator[Problem]:
    settings = resolution.settings
    if settings.tls_verify_mode is not VerifyMode.NONE and settings.tls_client_ca is None:
        yield Problem(
            resolution.where("tls_verify_mode"),
            f'"{settings.tls_verify_mode.value}" needs tls_client_ca, the PEM file with the authorities to verify against; '
            "no scope sets it",
        )


def check_candidates(resolutions: Iterable[tuple[Resolution, Kind]]) -> Iterator[Problem]:
    """Warn of each ``tls_protocols_report`` that can't refuse anybody, wherever it is in force.

    :param resolutions: Every one of the configuration, with its listener's kind.
    """
    idle: dict[str, Problem] = {}
    useful: set[str] = set()
    for resolution, kind in resolutions:
        settings = resolution.settings
        candidate = settings.tls_protocols_report
        if candidate is None or refuses_nobody(candidate) or not offers_tls(settings, kind):
            continue
        where = resolution.where("tls_protocols_report")
        if is_stricter(candidate, settings.tls_protocols):
            useful.add(where)
        else:
            idle.setdefault(
                where,
                Problem(
                    where,
                    f"{candidate} isn't stricter than tls_protocols, {settings.tls_protocols}: it would refuse nobody, and "
                    "there is nothing to report",
                ),
            )
    yield from (problem for where, problem in idle.items() if where not in useful)
