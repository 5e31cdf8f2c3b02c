"""Postfix's parameters for tests."""

from tlsproxy.config.importing.postfix_files import parse_main
from tlsproxy.config.importing.postfix_parameters import Parameters


def parameters(text: str) -> Parameters:
    """Those of a ``main.cf``."""
    return Parameters(parse_main(text)[0])
