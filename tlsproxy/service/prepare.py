"""A configuration file made ready for service: parsed, resolved, and every TLS context built.

What ``tlsproxy check`` finds and what a start would fail on is the same, since both come through here.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from attrs import define, field, frozen

from tlsproxy.config.backend import Backend, BackendTls
from tlsproxy.config.model import Configuration, Listen, Listener
from tlsproxy.config.parse import load_draft
from tlsproxy.config.resolve import Resolution, Resolver
from tlsproxy.config.rules import check_candidates, check_settings, offers_tls
from tlsproxy.config.toml_text import key_path
from tlsproxy.errors import ConfigurationError, OptionsError, Problem
from tlsproxy.fronts import KINDS, Kind
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.net.transparent import why_unavailable
from tlsproxy.service.guarding import judged, read_records
from tlsproxy.tls.client import ClientContext, client_context
from tlsproxy.tls.contexts import ContextStore


@frozen(eq=False)
class PreparedListen:
    """One listen with all that serving it needs."""

    listener: Listener
    listen: Listen
    kind: Kind
    backend: Backend
    resolver: Resolver


@frozen(eq=False)
class Prepared:
    """A configuration without an error in it."""

    configuration: Configuration
    listens: tuple[PreparedListen, ...]
    """In the order of the file."""
    contexts: ContextStore
    """Holds a context for every resolution of every listen's resolver."""
    client_contexts: Mapping[str, ClientContext]
    """For each backend with TLS to its servers, by name."""
    warnings: tuple[Problem, ...]
    """What is valid, but may not do what its author thinks; each once."""

    @property
    def names_by_certificate(self) -> Mapping[str, frozenset[str]]:
        """The names of each certificate to serve, by its file."""
        return {certificate.path: certificate.names for certificate in self.contexts.certificates}


def prepare(
    path: str | os.PathLike[str], *, replacing: Mapping[str, Collection[str]] | None = None
) -> Prepared:
    """Read a configuration file, and the certificates and keys it names.

    :param replacing: The :attr:`Prepared.names_by_certificate` of what this is to take the place of, for
        ``tls_certificate_guard``; None where it takes nobody's, and what that finds is warned of.
    :raises ConfigurationError: with every problem: of the file, of options that don't go together, of the certificates.
    """
    draft = load_draft(path)
    contexts = ContextStore()
    check = _Check(contexts, draft.tainted)
    resolvers = list(_resolvers(draft.configuration))
    for listener, _, resolver in resolvers:
        for resolution in resolver.resolutions():
            check.resolution(resolution, KINDS[listener.kind])
    check.candidates(resolvers)
    check.report_database(draft.configuration)
    for backend in draft.configuration.backends.values():
        check.backend(backend)
    records, unreadable = read_records(draft.configuration)
    judgement = list(judged(draft.configuration, contexts.certificates, records, replacing or {}))
    if replacing is None:
        check.warnings += judgement
        judgement = []
    problems = _each_once(*draft.problems, *check.problems, *unreadable, *judgement)
    if problems:
        raise ConfigurationError(problems)
    return Prepared(
        configuration=draft.configuration,
        listens=tuple(
            PreparedListen(
                listener,
                listen,
                KINDS[listener.kind],
                draft.configuration.backends[listener.backend],
                resolver,
            )
            for listener, listen, resolver in resolvers
        ),
        contexts=contexts,
        client_contexts=check.client_contexts,
        warnings=_each_once(*draft.configuration.warnings, *check.warnings),
    )


def _resolvers(configuration: Configuration) -> Iterator[tuple[Listener, Listen, Resolver]]:
    for listener in configuration.listeners:
        for listen in listener.listens:
            yield listener, listen, Resolver(configuration, listener, listen)


@define
class _Check:
    """Collects what resolutions have wrong with them."""

    contexts: ContextStore
    tainted: frozenset[str]
    problems: list[Problem] = field(factory=list)
    warnings: list[Problem] = field(factory=list)
    client_contexts: dict[str, ClientContext] = field(factory=dict)

    def resolution(self, resolution: Resolution, kind: Kind) -> None:
        if not self.tainted.isdisjoint(resolution.scopes):
            return  # an option that was left out would be missed here, and its author told of the same slip twice
        broken = list(check_settings(resolution, kind))
        self.problems += broken
        if not offers_tls(resolution.settings, kind):
            return
        try:
            context = self.contexts.server_context(resolution.settings, kind)
        except OptionsError as error:
            told = {problem.path for problem in broken}
            self.problems += [each for each in _located(error.problems, resolution) if each.path not in told]
        else:
            self.warnings += _located(context.warnings, resolution)

    def candidates(self, resolvers: Iterable[tuple[Listener, Listen, Resolver]]) -> None:
        self.warnings += check_candidates(
            (resolution, KINDS[listener.kind])
            for listener, _, resolver in resolvers
            for resolution in resolver.resolutions()
        )

    def report_database(self, configuration: Configuration) -> None:
        path = configuration.report_database
        if path is not None and not Path(path).parent.is_dir():
            message = f"{Path(path).parent} is no directory: make it, for the service's user to write to"
            self.warnings.append(Problem("report_database", message))

    def backend(self, backend: Backend) -> None:
        why = why_unavailable() if backend.identity is IdentityMode.TRANSPARENT else None
        if why is not None:
            message = f'"transparent" can\'t be had: {why}'
            self.problems.append(Problem(key_path(backend.path, "identity"), message))
        # Without tls_ca it is told already that one is needed.
        if backend.tls is BackendTls.NONE or backend.tls_ca is None or backend.path in self.tainted:
            return
        try:
            context = self.client_contexts[backend.name] = client_context(backend)
        except OptionsError as error:
            self.problems += _in_backend(error.problems, backend)
        else:
            self.warnings += _in_backend(context.warnings, backend)


def _located(messages: Iterable[tuple[str, str]], resolution: Resolution) -> list[Problem]:
    return [Problem(resolution.where(option), message) for option, message in messages]


def _in_backend(messages: Iterable[tuple[str, str]], backend: Backend) -> list[Problem]:
    return [Problem(key_path(backend.path, option), message) for option, message in messages]


def _each_once(*problems: Problem) -> tuple[Problem, ...]:
    """Scopes share options: many resolutions have the same thing to say."""
    return tuple(dict.fromkeys(problems))
