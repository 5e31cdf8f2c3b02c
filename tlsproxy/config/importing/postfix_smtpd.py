"""What one ``smtpd`` service of Postfix does about TLS, in our options (postconf(5), ``smtpd.c``)."""

from enum import Enum

from attrs import frozen

from tlsproxy.config.importing.options import Options
from tlsproxy.config.importing.postfix_certificates import put_certificates, put_client_certificates
from tlsproxy.config.importing.postfix_ciphers import put_ciphers
from tlsproxy.config.importing.postfix_defaults import DEFAULTS
from tlsproxy.config.importing.postfix_parameters import Parameters
from tlsproxy.config.importing.postfix_protocols import carried
from tlsproxy.config.importing.remarks import note
from tlsproxy.config.tables import OPTIONS


class Level(Enum):
    """What Postfix does about TLS on a port."""

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    WRAPPER = "wrapper"

    @property
    def mandatory(self) -> bool:
        return self in (Level.ENCRYPT, Level.WRAPPER)


@frozen
class Smtpd:
    """A service translated."""

    options: Options
    usable: bool = True
    """Whether there is anything to listen for: Postfix drops every connection to a wrappermode port without TLS."""


def translated(parameters: Parameters, *, postscreen: bool = False) -> Smtpd:
    """The options of a service.

    :param postscreen: Whether postscreen(8) stands before it: then its own parameters decide about STARTTLS.
    """
    options = Options()
    level = _level(parameters, options, "postscreen" if postscreen else "smtpd")
    if level is not Level.NONE and not put_certificates(parameters, options):
        message = "Postfix has no certificate (smtpd_tls_cert_file, smtpd_tls_chain_files), and so no TLS"
        options.remark(parameters.lost("smtpd_tls_security_level", message))
        usable = level is not Level.WRAPPER
        level = Level.NONE
    else:
        usable = True
    _put_level(options, level)
    if level is not Level.NONE:
        _put_protocols(parameters, options, mandatory=level.mandatory)
        put_ciphers(parameters, options, mandatory=level.mandatory)
        put_client_certificates(parameters, options, mandatory=level.mandatory)
        _put_auth(parameters, options, level)
        _put_times_of_tls(parameters, options)
        _remark_untranslated(parameters, options)
    _put_keywords(parameters, options)
    _put_bare_newline(parameters, options)
    _put_limits(parameters, options)
    options.remark(*parameters.remarks)
    return Smtpd(options, usable)


_LEVELS = {"none": Level.NONE, "may": Level.MAY, "encrypt": Level.ENCRYPT}


def _level(parameters: Parameters, options: Options, prefix: str) -> Level:
    if parameters.boolean("smtpd_tls_wrappermode"):
        return Level.WRAPPER
    name = f"{prefix}_tls_security_level"
    word = parameters.string(name).lower()
    if word in _LEVELS:
        level = _LEVELS[word]
    elif word:
        options.remark(
            note(
                parameters.text(name),
                parameters.where(name),
                "is encrypt to a Postfix server, with a warning",
            )
            if word in ("dane", "dane-only", "fingerprint", "verify", "secure")
            else parameters.lost(name, 'is no level, and Postfix doesn\'t start with it; here is "encrypt"')
        )
        level = Level.ENCRYPT
    elif parameters.boolean(f"{prefix}_enforce_tls"):
        level = Level.ENCRYPT
    else:
        level = Level.MAY if parameters.boolean(f"{prefix}_use_tls") else Level.NONE
    if level is not Level.NONE and _discards_starttls(parameters, prefix):
        keywords = f"{prefix}_discard_ehlo_keywords"
        options.remark(
            note(
                parameters.text(keywords),
                parameters.where(keywords),
                "with starttls in it, nobody is offered TLS",
            )
        )
        # Still demanded, if it was: then no mail gets in, here as there.
        level = Level.NONE if level is Level.MAY else level
    return level


def _discards_starttls(parameters: Parameters, prefix: str) -> bool:
    keywords = parameters.strings(f"{prefix}_discard_ehlo_keywords")
    return "starttls" in map(str.lower, keywords)


def _put_level(options: Options, level: Level) -> None:
    if level is Level.WRAPPER:
        options.put("tls_wrappermode", True)
    else:
        options.put("tls_security_level", level.value)


def _put_protocols(parameters: Parameters, options: Options, *, mandatory: bool) -> None:
    name = "smtpd_tls_mandatory_protocols" if mandatory else "smtpd_tls_protocols"
    other = "smtpd_tls_protocols" if mandatory else "smtpd_tls_mandatory_protocols"
    remarks = []
    if not parameters.is_set(name) and parameters.is_set(other):
        why = "TLS is demanded" if mandatory else "TLS isn't demanded"
        remarks.append(
            note(
                parameters.text(name),
                parameters.where(name),
                f"is what counts here, where {why}: {parameters.text(other)} doesn't",
            )
        )
    result = carried(parameters.string(name))
    if result.text is None:
        options.remark(
            parameters.lost(name, f"{result.trap}. Here is tlsproxy's default, {_default('tls_protocols')}")
        )
        return
    if result.trap is not None:
        remarks.append(note(parameters.text(name), parameters.where(name), result.trap))
    options.put(
        "tls_protocols", result.text, *remarks, setting=parameters.text(name), where=parameters.where(name)
    )


def _default(name: str) -> str:
    default = OPTIONS[name].default
    return str(getattr(default, "text", default))


def _put_auth(parameters: Parameters, options: Options, level: Level) -> None:
    in_the_clear = (
        parameters.boolean("smtpd_sasl_auth_enable")
        and not parameters.boolean("smtpd_tls_auth_only")
        and not level.mandatory
    )
    if in_the_clear:
        remark = note(
            parameters.text("smtpd_tls_auth_only"),
            parameters.where("smtpd_tls_auth_only"),
            "passwords cross the network in the clear wherever a client doesn't ask for TLS",
        )
        options.put("tls_auth_only", False, remark)


def _put_times_of_tls(parameters: Parameters, options: Options) -> None:
    name = "smtpd_starttls_timeout"
    if parameters.is_set(name):
        _put(parameters, options, "handshake_timeout", parameters.seconds(name), name)


_UNTRANSLATED = {
    "smtpd_tls_eecdh_grade": "the groups for key exchange are OpenSSL's own choice",
    "tls_eecdh_auto_curves": "the groups for key exchange are OpenSSL's own choice",
    "tls_eecdh_strong_curve": "the groups for key exchange are OpenSSL's own choice",
    "tls_eecdh_ultra_curve": "the groups for key exchange are OpenSSL's own choice",
    "tls_ffdhe_auto_groups": "the groups for key exchange are OpenSSL's own choice",
    "smtpd_tls_dh1024_param_file": "no file with parameters for DHE is read: clients without ECDHE don't get in by DHE",
    "smtpd_tls_dh512_param_file": "export ciphers are gone",
    "smtpd_tls_received_header": "Postfix doesn't see the TLS any more; with identity = \"trace_header\" tlsproxy's own "
    "Received field tells of it",
    "smtpd_tls_enable_rpk": "there are no raw public keys",
    "tls_server_sni_maps": "lookup tables aren't read: list the certificates in tls_certificate, and the names in them are "
    "what SNI is matched with",
    "tls_ssl_options": "OpenSSL's options aren't to be set one by one",
    "tls_disable_workarounds": "OpenSSL's options aren't to be set one by one",
    "tls_preempt_cipherlist": "whose order of ciphers counts isn't to be chosen",
    "tls_config_file": "OpenSSL's configuration file isn't read",
    "tls_config_name": "OpenSSL's configuration file isn't read",
    "smtpd_tls_always_issue_session_ids": "sessions are resumed by tickets alone",
    "smtpd_discard_ehlo_keyword_address_maps": "lookup tables aren't read: a [[esmtp_listener.peer]] can have its own "
    "tls_security_level and smtp_discard_ehlo_keywords",
}
"""Parameters about TLS that we have nothing for, where they aren't at their default."""

_NEEDLESS = {
    "smtpd_tls_session_cache_database": "is needless: sessions are resumed by tickets, and no database is kept",
    "smtpd_tls_loglevel": "is needless: tlsproxy logs the TLS of every session",
}

_INERT = {"smtpd_tls_eecdh_grade": {"auto"}, "smtpd_tls_dh1024_param_file": {"auto"}}
"""Values that change nothing for us."""


def _remark_untranslated(parameters: Parameters, options: Options) -> None:
    for name, message in _UNTRANSLATED.items():
        if parameters.is_set(name) and not _is_inert(parameters, name):
            options.remark(parameters.lost(name, message))
    for name, message in _NEEDLESS.items():
        if parameters.is_set(name) and parameters.string(name):
            options.remark(note(parameters.text(name), parameters.where(name), message))
    if parameters.is_set("smtpd_tls_session_cache_timeout"):
        message = "for how long a session may be resumed is OpenSSL's own choice"
        options.remark(parameters.lost("smtpd_tls_session_cache_timeout", message))


def _is_inert(parameters: Parameters, name: str) -> bool:
    value = parameters.string(name)
    return value in ("", DEFAULTS.get(name, "")) or value in _INERT.get(name, ())


def _put_keywords(parameters: Parameters, options: Options) -> None:
    name = "smtpd_discard_ehlo_keywords"
    unneeded = {"silent-discard", "starttls"}
    keywords = [word for word in parameters.strings(name) if word.lower() not in unneeded]
    if keywords:
        _put(parameters, options, "smtp_discard_ehlo_keywords", keywords, name)


def _put_bare_newline(parameters: Parameters, options: Options) -> None:
    name = "smtpd_forbid_bare_newline"
    word = parameters.string(name).lower()
    value = "reject" if word == "reject" else "normalize"
    remarks = []
    if word in ("no", "note"):
        message = 'leaves the server open to SMTP smuggling. "normalize" takes the same mail, and isn\'t'
        remarks.append(note(parameters.text(name), parameters.where(name), message))
    elif word not in ("", "yes", "normalize", "reject"):
        options.remark(parameters.lost(name, 'is no value that Postfix knows; here is "normalize"'))
    options.put("smtp_bare_newline", value, *remarks)
    if parameters.is_set("smtpd_forbid_bare_newline_exclusions") and parameters.string(
        "smtpd_forbid_bare_newline_exclusions"
    ):
        message = "exclusions by network: a [[esmtp_listener.peer]] can have its own smtp_bare_newline"
        options.remark(parameters.lost("smtpd_forbid_bare_newline_exclusions", message))


_LIMITS = (
    ("smtpd_client_connection_count_limit", "max_sessions_per_peer"),
    ("smtpd_client_connection_rate_limit", "session_rate_per_peer"),
    ("smtpd_client_new_tls_session_rate_limit", "handshake_rate_per_peer"),
)


def _put_limits(parameters: Parameters, options: Options) -> None:
    unit = parameters.seconds("anvil_rate_time_unit")
    for name, option in _LIMITS:
        limit = parameters.number(name)
        if option not in OPTIONS:
            if parameters.is_set(name) and limit:
                options.remark(parameters.lost(name, f"this version of tlsproxy has no {option}"))
        elif option == "max_sessions_per_peer":
            _put(parameters, options, option, limit, name)
        elif limit:
            per_minute = max(1, limit * 60 // max(1, unit))
            if unit != 60:
                text = parameters.text("anvil_rate_time_unit")
                remark = note(
                    parameters.text(name), parameters.where(name), f"converted to a minute ({text})"
                )
                options.put(option, per_minute, remark)
            else:
                _put(parameters, options, option, per_minute, name)
    name = "smtpd_timeout"
    if parameters.is_set(name):
        option = "smtp_command_timeout" if "smtp_command_timeout" in OPTIONS else "idle_timeout"
        _put(parameters, options, option, parameters.seconds(name), name)


def _put(parameters: Parameters, options: Options, option: str, value: object, name: str) -> None:
    options.put(option, value, setting=parameters.text(name), where=parameters.where(name))
