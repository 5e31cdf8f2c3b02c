"""The certificates of a Postfix server, and what it asks of a client's."""

from collections.abc import Sequence

from tlsproxy.config.importing.options import Options
from tlsproxy.config.importing.postfix_parameters import Parameters
from tlsproxy.config.importing.remarks import note

_PAIRS = (
    ("smtpd_tls_cert_file", "smtpd_tls_key_file"),
    ("smtpd_tls_eccert_file", "smtpd_tls_eckey_file"),
    ("smtpd_tls_dcert_file", "smtpd_tls_dkey_file"),
)


def put_certificates(parameters: Parameters, options: Options) -> bool:
    """Set ``tls_certificate`` and ``tls_key``; whether Postfix has a certificate at all."""
    if parameters.string("smtpd_tls_chain_files"):
        return _chain_files(parameters, options)
    certificates, keys = [], []
    for certificate_name, key_name in _PAIRS:
        certificate = parameters.string(certificate_name)
        if not certificate or certificate.lower() == "none":
            continue
        if certificate_name == "smtpd_tls_dcert_file":
            options.remark(parameters.lost(certificate_name, "DSA certificates are of no use since TLS 1.3"))
            continue
        certificates.append(certificate)
        keys.append(parameters.string(key_name))
    if certificates:
        _put(parameters, options, certificates, keys, "smtpd_tls_cert_file")
    return "tls_certificate" in options.values


def _chain_files(parameters: Parameters, options: Options) -> bool:
    """``smtpd_tls_chain_files``: each file has a key and then its chain, or a file with a key goes before one with it."""
    name = "smtpd_tls_chain_files"
    for legacy, _ in _PAIRS:
        if parameters.string(legacy):
            options.remark(
                note(
                    parameters.text(legacy),
                    parameters.where(legacy),
                    "has no effect beside smtpd_tls_chain_files: Postfix ignores it, and so it isn't carried over",
                )
            )
    files = parameters.strings(name)
    keys, certificates = files[0::2], files[1::2]
    paired = len(files) % 2 == 0 and all(
        "key" in key.lower() and "key" not in certificate.lower()
        for key, certificate in zip(keys, certificates, strict=True)
    )
    if paired:
        _put(parameters, options, certificates, keys, name)
    else:
        _put(parameters, options, files, files, name)
    return "tls_certificate" in options.values


def _put(
    parameters: Parameters, options: Options, certificates: Sequence[str], keys: Sequence[str], name: str
) -> None:
    where, text = parameters.where(name), parameters.text(name)
    for path in (*certificates, *keys):
        if not path.startswith("/"):
            message = f"{path} is relative to Postfix's queue directory, here to the directory of this file"
            options.remark(parameters.lost(name, message))
            break
    options.put("tls_certificate", _one_or_list(certificates), setting=text, where=where)
    if list(keys) != list(certificates):
        options.put("tls_key", _one_or_list(keys), setting=text, where=where)


def _one_or_list(files: Sequence[str]) -> str | list[str]:
    return files[0] if len(files) == 1 else list(files)


def put_client_certificates(parameters: Parameters, options: Options, *, mandatory: bool) -> None:
    """Set ``tls_verify_mode`` and ``tls_client_ca``.

    :param mandatory: Whether TLS is demanded: without it Postfix demands no certificate either.
    """
    required, asked = (parameters.boolean(name) for name in ("smtpd_tls_req_ccert", "smtpd_tls_ask_ccert"))
    if required and not mandatory:
        options.remark(
            note(
                parameters.text("smtpd_tls_req_ccert"),
                parameters.where("smtpd_tls_req_ccert"),
                "Postfix demands no client certificate unless it demands TLS, and it doesn't here: nothing is asked for",
            )
        )
        required = False
    if required:
        _require(parameters, options)
    elif asked:
        options.remark(
            parameters.lost(
                "smtpd_tls_ask_ccert",
                "Postfix goes on with a certificate that doesn't verify, and many servers show such a one when they are "
                'asked; tls_verify_mode = "optional" would refuse them. And XCLIENT doesn\'t tell Postfix of a '
                "certificate, so permit_tls_clientcerts and the like match nobody",
            )
        )
    if required or asked:
        for name, message in _UNTRANSLATED:
            if parameters.is_set(name) and parameters.string(name) not in ("", "no"):
                options.remark(parameters.lost(name, message))


_UNTRANSLATED = (
    ("smtpd_tls_CApath", "tls_client_ca is one file: put the authorities' certificates into it"),
    ("tls_append_default_CA", "authorities are those in tls_client_ca, and no others"),
    ("smtpd_tls_ccert_verifydepth", "the length of a client's chain has no limit but OpenSSL's"),
)


def _require(parameters: Parameters, options: Options) -> None:
    authorities = parameters.string("smtpd_tls_CAfile")
    if not authorities:
        options.remark(
            parameters.lost(
                "smtpd_tls_req_ccert",
                'tls_verify_mode = "require" needs tls_client_ca, and smtpd_tls_CAfile isn\'t set: NO client certificate '
                "is demanded until both are set here",
            )
        )
        return
    options.put(
        "tls_client_ca",
        authorities,
        setting=parameters.text("smtpd_tls_CAfile"),
        where=parameters.where("smtpd_tls_CAfile"),
    )
    options.put("tls_verify_mode", "require")
