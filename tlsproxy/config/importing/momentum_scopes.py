"""Momentum's options in a scope, in our options: listener, listen, peer, pathway, pathway group or global."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tlsproxy.config.importing.momentum_files import Assignment
from tlsproxy.config.importing.momentum_protocols import MomentumProtocolsError, translated
from tlsproxy.config.importing.options import Options
from tlsproxy.config.importing.remarks import Remark, lost, note
from tlsproxy.config.tables import OPTIONS

TRUE: Final = ("true", "1", "yes", "on")
FALSE: Final = ("false", "0", "no", "off")


def boolean(assignment: Assignment, options: Options) -> bool | None:
    """The value; None, and a remark, where it is neither."""
    word = text_of(assignment).lower()
    if word in TRUE or word in FALSE:
        return word in TRUE
    options.remark(_lost(assignment, "is neither true nor false"))
    return None


def text_of(assignment: Assignment) -> str:
    """The value as one text."""
    return assignment.value if isinstance(assignment.value, str) else " ".join(assignment.value)


def translate(assignments: Mapping[str, Assignment]) -> Options:
    """The options of one scope."""
    options = Options()
    for name, assignment in assignments.items():
        translation = _TRANSLATIONS.get(name)
        if translation is not None:
            translation(assignment, options)
        elif name in _UNTRANSLATED:
            options.remark(_lost(assignment, _UNTRANSLATED[name]))
        elif name.startswith(("tls", "starttls", "ssl_")) and name not in _NOT_OURS:
            options.remark(_lost(assignment, "has no counterpart"))
    return options


def _lost(assignment: Assignment, message: str) -> Remark:
    return lost(assignment.text, assignment.where, message)


def _put(option: str, assignment: Assignment, options: Options, value: object, *remarks: Remark) -> None:
    options.put(option, value, *remarks, setting=assignment.text, where=assignment.where)


def _renegotiation(assignment: Assignment, options: Options) -> None:
    value = boolean(assignment, options)
    if value is None:
        return
    remarks = []
    if value:
        message = (
            "tlsproxy allows it with secure renegotiation (RFC 5746) alone, tls_renegotiation_limit times"
        )
        remarks.append(note(assignment.text, assignment.where, message))
    _put("tls_allow_renegotiation", assignment, options, value, *remarks)


def _protocols(assignment: Assignment, options: Options) -> None:
    try:
        text = translated(text_of(assignment))
    except MomentumProtocolsError as error:
        options.remark(_lost(assignment, f"{error}. What holds is the wider scope's tls_protocols"))
        return
    remark = note(
        assignment.text,
        assignment.where,
        "under Momentum the system's own policy for TLS may have allowed less: RHEL's, from 8 on, starts at TLSv1.2",
    )
    _put(
        "tls_protocols",
        assignment,
        options,
        text,
        *([remark] if text.startswith(">=TLSv1,") or text == ">=TLSv1" else []),
    )


def _ciphers(assignment: Assignment, options: Options) -> None:
    text = text_of(assignment)
    if text.upper().startswith(
        ("NORMAL", "SECURE", "PERFORMANCE", "PFS", "LEGACY", "SUITEB", "+VERS", "NONE")
    ):
        options.remark(
            _lost(assignment, "is a priority string of GnuTLS: tls_ciphers is an OpenSSL cipher list")
        )
        return
    _put("tls_ciphers", assignment, options, text)


def _plain(option: str) -> Callable[[Assignment, Options], None]:
    def translate(assignment: Assignment, options: Options) -> None:
        _put(option, assignment, options, text_of(assignment))

    return translate


def _file(option: str) -> Callable[[Assignment, Options], None]:
    def translate(assignment: Assignment, options: Options) -> None:
        path = text_of(assignment)
        if path.lower() == "none":
            options.remark(
                _lost(
                    assignment, f"takes the wider scope's away: set {option} in every scope beside it instead"
                )
            )
            return
        _put(option, assignment, options, path)

    return translate


def _verify_mode(assignment: Assignment, options: Options) -> None:
    word = text_of(assignment).lower()
    if word not in ("none", "require"):
        options.remark(_lost(assignment, "is neither none nor require"))
        return
    remarks = []
    if word == "require":
        message = (
            "Momentum goes on when the certificate doesn't verify, and leaves it to policy scripts; tlsproxy ends the "
            "handshake"
        )
        remarks.append(note(assignment.text, assignment.where, message))
    _put("tls_verify_mode", assignment, options, word, *remarks)


def _injection(assignment: Assignment, options: Options) -> None:
    word = text_of(assignment).lower()
    if word == "allow":
        options.remark(
            _lost(assignment, 'lets commands be injected before TLS (CVE-2011-0411): here it is "reject"')
        )
        return
    _put("starttls_injection_policy", assignment, options, word)


def _seconds(option: str) -> Callable[[Assignment, Options], None]:
    def translate(assignment: Assignment, options: Options) -> None:
        number = _number(assignment)
        if number is None:
            options.remark(_lost(assignment, "is no number of seconds"))
        elif number == 0:
            options.remark(_lost(assignment, f"0 is no limit, and {option} always has one"))
        else:
            _put(option, assignment, options, number)

    return translate


def _number(assignment: Assignment) -> int | None:
    text = text_of(assignment)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _sessions(assignment: Assignment, options: Options) -> None:
    number = _number(assignment)
    if number is None:
        options.remark(_lost(assignment, "is no number"))
    elif "max_sessions" in OPTIONS:
        _put("max_sessions", assignment, options, number)
    elif number:
        options.remark(_lost(assignment, "this version of tlsproxy has no max_sessions"))


def _implicit_tls(assignment: Assignment, options: Options) -> None:
    value = boolean(assignment, options)
    if value is not None:
        _put("tls_wrappermode", assignment, options, value)


_TRANSLATIONS: Final[Mapping[str, Callable[[Assignment, Options], None]]] = {
    "tls_allow_renegotiation": _renegotiation,
    "tls_protocols": _protocols,
    "tls_ciphers": _ciphers,
    "tlsv13_ciphersuites": _plain("tls_ciphersuites"),
    "tls_certificate": _file("tls_certificate"),
    "tls_key": _file("tls_key"),
    "tls_client_ca": _file("tls_client_ca"),
    "tls_verify_mode": _verify_mode,
    "starttls_injection_policy": _injection,
    "use_ssl": _implicit_tls,
    "idle_time": _seconds("idle_timeout"),
    "ecstream_idle_time": _seconds("idle_timeout"),
    "listener_sessions": _sessions,
    "hostname": _plain("smtp_hostname"),
}

_UNTRANSLATED: Final[Mapping[str, str]] = {
    "tls_ec_curve_names": "the groups for key exchange are OpenSSL's own choice",
    "tls_dhparams_file": "no file with parameters for DHE is read: clients without ECDHE don't get in by DHE",
    "tls_enable_dhe_ciphers": "which ciphers are used is said by tls_ciphers alone",
    "tls_verified_peer_can_relay": "the server behind doesn't see the client's certificate",
    "tls_verified_peer_is_authorized": "the server behind is told the certificate's subject by http_tls_headers",
    "service_sessions": "there is no limit over several listeners; max_sessions at the top of the file is over all of them",
}

_NOT_OURS: Final[Sequence[str]] = (
    "tls",
    "tls_ca",
    "tls_verify",
    "tls_ifavailable_fallback",
    "tls_fallback_always_new_connection",
    "tlsa_expire_interval",
    "tls_macros",
    "tls_engine",
    "ssl_lock_method",
)
"""Options of outbound TLS, which stays with Momentum, and of its libraries."""
