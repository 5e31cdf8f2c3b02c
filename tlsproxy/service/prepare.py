"""A configuration file made ready for service: parsed, resolved, and every TLS context built.

What ``tlsproxy check`` finds and what a start would fail on is the same, since both come through here.
"""

import os
from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

from tlsproxy.config.backend import Backend
from tlsproxy.config.model import Configuration, Listen, Listener
from tlsproxy.config.parse import load_draft
from tlsproxy.config.resolve import Resolution, Resolver
from tlsproxy.config.rules import check_settings, offers_tls
from tlsproxy.errors import ConfigurationError, OptionsError, Problem
from tlsproxy.fronts import KINDS, Kind
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
    warnings: tuple[Problem, ...]
    """What is valid, but may not do what its author thinks; each once."""


def prepare(path: str | os.PathLike[str]) -> Prepared:
    """Read a configuration file, and the certificates and keys it names.

    :raises ConfigurationError: with every problem: of the file, of options that don't go together, of the certificates.
    """
    draft = load_draft(path)
    contexts = ContextStore()
    check = _Check(contexts, draft.tainted)
    resolvers = list(_resolvers(draft.configuration))
    for listener, _, resolver in resolvers:
        for resolution in resolver.resolutions():
            check.resolution(resolution, KINDS[listener.kind])
    problems = _each_once(*draft.problems, *check.problems)
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


def _located(messages: Iterable[tuple[str, str]], resolution: Resolution) -> list[Problem]:
    return [Problem(resolution.where(option), message) for option, message in messages]


def _each_once(*problems: Problem) -> tuple[Problem, ...]:
    """Scopes share options: many resolutions have the same thing to say."""
    return tuple(dict.fromkeys(problems))
