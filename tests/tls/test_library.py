"""The TLS library's name and version."""

import re

from tlsproxy.tls.library import library_version


def test_the_library_says_what_it_is() -> None:
    assert re.match(r"OpenSSL \d+\.\d+\.\d+ ", library_version())
