"""TLS contexts: one for each distinct policy, shared by all connections under it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from attrs import field, frozen
from OpenSSL import SSL

from tlsproxy.config.settings import Settings, VerifyMode
from tlsproxy.errors import OptionsError
from tlsproxy.fronts import Kind
from tlsproxy.tls.building import ServerPolicy, answer_server_names, apply_ciphers, build_context
from tlsproxy.tls.certificates import Authorities, Certificate, load_authorities, load_certificate
from tlsproxy.tls.ciphers import cipher_list_warnings
from tlsproxy.tls.probe import check_versions
from tlsproxy.tls.sni import NameMap, default_group, groups_by_name

Problem = tuple[str, str]
"""An option's name, and what is wrong with it."""


@frozen(eq=False)
class ServerContext:
    """Makes the server side of connections under one policy."""

    certificates: tuple[Certificate, ...]
    """In the order configured."""
    warnings: tuple[Problem, ...]
    """An option's name, and what about its value may not be as meant."""
    _contexts: NameMap[SSL.Context] = field(repr=False)

    def new_connection(self) -> SSL.Connection:
        """The server side of one connection, over memory BIOs."""
        connection = SSL.Connection(self._contexts.default)
        connection.set_accept_state()
        return connection

    def knows(self, server_name: str) -> bool:
        """Whether one of the certificates has this name."""
        return self._contexts.get(server_name.encode()) is not None

    def release(self) -> None:
        """Give back what OpenSSL holds for other names than the first certificate's. No connection may be left."""
        self._contexts.by_name.clear()


class ContextStore:
    """The contexts of one configuration. Contexts can't be changed once used: a reload makes a store of its own."""

    def __init__(self, now: datetime | None = None) -> None:
        """:param now: The time to judge certificates by; None: when they are read."""
        self._now = now
        self._by_settings: dict[tuple[Settings, str], ServerContext] = {}
        self._by_policy: dict[ServerPolicy, ServerContext] = {}
        self._certificates: dict[tuple[str, str | None], Certificate | OptionsError] = {}

    def server_context(self, settings: Settings, kind: Kind) -> ServerContext:
        """The context for sessions with these settings.

        :raises OptionsError: with every problem, of every option.
        """
        context = self._by_settings.get((settings, kind.name))
        if context is None:
            policy = ServerPolicy.of(settings, kind)
            context = self._by_policy.get(policy)
            if context is None:
                context = self._by_policy[policy] = self._build(policy)
            self._by_settings[settings, kind.name] = context
        return context

    def release(self) -> None:
        """Give back OpenSSL's memory now: no connection is left that it was for, and none will be made.

        Contexts refer to each other, for connections that go from one to the other. Python's garbage collector knows
        nothing of the 50 KiB behind each, and sees no reason to hurry: a few reloads would pile up.
        """
        for context in self._by_policy.values():
            context.release()

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Every certificate of the contexts built so far, each once."""
        return tuple(known for known in self._certificates.values() if isinstance(known, Certificate))

    def _build(self, policy: ServerPolicy) -> ServerContext:
        problems = list(_option_problems(policy))
        certificates: list[Certificate] = []
        if not any(option in ("tls_certificate", "tls_key") for option, _ in problems):
            for path, key_path in zip(policy.certificates, policy.keys or _no_keys(policy), strict=True):
                try:
                    certificates.append(self._certificate(path, key_path))
                except OptionsError as error:
                    problems += error.problems
        authorities = None
        if policy.client_ca is not None:
            try:
                authorities = load_authorities(policy.client_ca, self._now)
            except OptionsError as error:
                problems += error.problems
        if problems:
            raise OptionsError(tuple(problems))
        return _server_context(policy, certificates, authorities)

    def _certificate(self, path: str, key_path: str | None) -> Certificate:
        """Read each file once, however many policies name it."""
        known = self._certificates.get((path, key_path))
        if known is None:
            try:
                known = load_certificate(path, key_path, self._now)
            except OptionsError as error:
                known = error
            self._certificates[path, key_path] = known
        if isinstance(known, OptionsError):
            raise known
        return known


def _no_keys(policy: ServerPolicy) -> tuple[None, ...]:
    return (None,) * len(policy.certificates)


def _option_problems(policy: ServerPolicy) -> Iterator[Problem]:
    """What can be said before any file is read."""
    if not policy.certificates:
        yield "tls_certificate", "names no file: a PEM file with the certificate and its chain is needed"
    elif policy.keys and len(policy.keys) != len(policy.certificates):
        yield (
            "tls_key",
            f"names {len(policy.keys)} files, tls_certificate {len(policy.certificates)}: one for each is needed, or none",
        )
    if policy.verify_mode is not VerifyMode.NONE and policy.client_ca is None:
        yield (
            "tls_verify_mode",
            f'"{policy.verify_mode.value}" needs tls_client_ca, the PEM file with the authorities to verify against',
        )
    yield from apply_ciphers(SSL.Context(SSL.TLS_METHOD), policy)
    for name in policy.alpn_protocols:
        if not name.isascii() or not 1 <= len(name) <= 255:
            yield "tls_alpn_protocols", f"{name!r} must have 1 to 255 ASCII characters (RFC 7301)"


def _server_context(
    policy: ServerPolicy, certificates: Sequence[Certificate], authorities: Authorities | None
) -> ServerContext:
    """Build the context of each group of certificates, and ask it what it does."""
    default, by_name = default_group(certificates), groups_by_name(certificates)
    groups = list(dict.fromkeys([default, *by_name.values()]))
    built = {group: build_context(policy, group, authorities) for group in groups}
    contexts = NameMap(built[default], {name: built[group] for name, group in by_name.items()})
    if len(groups) > 1:
        answer_server_names(contexts)
    for context in built.values():
        # A connection holds the context that SNI gave it, and OpenSSL may still call into the one it began with.
        context.set_app_data(contexts)
    # They are alike in all but the certificates, and these in all that counts here but the type of the key.
    by_types = {tuple(each.key_type for each in group): context for group, context in built.items()}
    warnings = [
        *(("tls_certificate", warning) for certificate in certificates for warning in certificate.warnings),
        *(("tls_client_ca", warning) for warning in (authorities.warnings if authorities else ())),
        *_unserved(certificates, groups),
    ]
    for types, context in by_types.items():
        warnings += check_versions(context, policy.protocols, types)
    enabled = SSL.Connection(contexts.default).get_cipher_list()
    warnings += [("tls_ciphers", warning) for warning in cipher_list_warnings(policy.ciphers, enabled)]
    return ServerContext(tuple(certificates), tuple(dict.fromkeys(warnings)), contexts)


def _unserved(
    certificates: Iterable[Certificate], groups: Iterable[tuple[Certificate, ...]]
) -> Iterator[Problem]:
    served = {certificate for group in groups for certificate in group}
    for certificate in certificates:
        if certificate not in served:
            yield (
                "tls_certificate",
                f"{certificate.path}: never served, since {certificate.key_type} certificates before it have its names",
            )
