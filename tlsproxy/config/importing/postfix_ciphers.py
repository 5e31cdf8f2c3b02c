"""The cipher suites of a Postfix server: a grade, what is excluded from it, and the lists that grades stand for."""

import re
from typing import Final

from tlsproxy.config.importing.options import Options
from tlsproxy.config.importing.postfix_defaults import DEFAULTS
from tlsproxy.config.importing.postfix_parameters import Parameters
from tlsproxy.config.importing.remarks import note

GRADES: Final = ("high", "medium", "low", "export", "null")

_EQUIVALENT: Final = {"high": "HIGH", "medium": "HIGH", "low": "HIGH", "export": "HIGH"}
"""What is left of Postfix's own lists in an OpenSSL without RC4, SEED, single DES and export ciphers: MEDIUM, LOW and
EXPORT match nothing there. Postfix also takes anonymous suites, which come from no certificate and are left out."""

_SEPARATORS = re.compile(r"[,: \t\r\n]+")


def put_ciphers(parameters: Parameters, options: Options, *, mandatory: bool) -> None:
    """Set ``tls_ciphers``.

    :param mandatory: Whether TLS is demanded: then Postfix goes by the ``mandatory`` parameters.
    """
    name = "smtpd_tls_mandatory_ciphers" if mandatory else "smtpd_tls_ciphers"
    grade = parameters.string(name).lower()
    if grade not in GRADES:
        options.remark(
            parameters.lost(name, "is no cipher grade: Postfix turns TLS off; here is medium in its place")
        )
        grade = "medium"
    if grade == "null":
        options.remark(
            parameters.lost(
                name, "is TLS without encryption, which tlsproxy isn't for: tls_ciphers isn't set"
            )
        )
        return
    listed = f"tls_{grade}_cipherlist"
    own = parameters.string(listed) if parameters.is_set(listed) else ""
    elements = [own if own and own != DEFAULTS[listed] else _EQUIVALENT[grade]]
    elements += [f"!{name}" for name in _excluded(parameters, options, mandatory=mandatory)]
    if "!aNULL" not in elements:
        elements.append("!aNULL")
    setting = listed if own else name
    remarks = []
    if parameters.is_set(setting) and own:
        remarks.append(
            note(
                parameters.text(listed),
                parameters.where(listed),
                "with !aNULL: tlsproxy takes no suites without a certificate",
            )
        )
    options.put(
        "tls_ciphers",
        ":".join(elements),
        *remarks,
        setting=parameters.text(setting),
        where=parameters.where(setting),
    )


def _excluded(parameters: Parameters, options: Options, *, mandatory: bool) -> list[str]:
    """What is excluded, in the order of the files, each once."""
    names = ["smtpd_tls_exclude_ciphers", *(["smtpd_tls_mandatory_exclude_ciphers"] if mandatory else [])]
    excluded: dict[str, None] = {}
    for name in names:
        for element in filter(None, _SEPARATORS.split(parameters.string(name))):
            if element[0] in "!+-@" or not element.isascii():
                message = f"{element} isn't the name of a cipher: Postfix leaves it out, with a warning"
                options.remark(parameters.lost(name, message))
                continue
            excluded[element] = None
    return list(excluded)
