"""How often a process that serves looks for garbage in circles."""

import gc
from typing import Final

YOUNG: Final = 5000
"""Objects made and not given back before the youngest are looked at: those of some hundred sessions, a few megabytes at
most. At Python's 700 it is done several times for each session, and finds what is in use."""


def collect_less_often() -> None:
    """For a process whose objects come and go by the session, and mostly without circles."""
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
