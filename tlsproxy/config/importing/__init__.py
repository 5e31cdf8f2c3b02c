"""Configurations of other programs, translated to ours: text in, a TOML document and remarks out.

Nothing here opens a file or runs a program: :mod:`tlsproxy.cli.importing` does the reading.
"""
