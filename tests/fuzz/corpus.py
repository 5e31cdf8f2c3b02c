"""The inputs kept for each target: the fewest that reach whatever a fuzzer has found a way to."""

import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

import tlsproxy

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
TARGETS = tuple(sorted(path.stem for path in (HERE / "targets").glob("[a-z]*.py")))

_WATCHED = (str(Path(tlsproxy.__file__).parent), str(HERE / "targets"))


class Target(Protocol):
    """A module of :mod:`tests.fuzz.targets`."""

    MAX_SIZE: int
    """Bytes of an input: enough to get everywhere. Limits that lie higher have tests of their own."""
    TOKENS: tuple[bytes, ...]
    """What may be put together to something."""

    def one_input(self, data: bytes) -> None:
        """Check the invariant, and raise where it doesn't hold."""


def target(name: str) -> Target:
    """The target of this name."""
    return cast("Target", import_module(f"tests.fuzz.targets.{name}"))


def inputs(name: str) -> list[Path]:
    """The files of a target's corpus."""
    return sorted((CORPUS / name).iterdir())


def minimize(name: str, found: Path) -> int:
    """Make the corpus of a target anew from itself and what is in ``found``; how many files it has.

    Each step from one line to another that any of the inputs goes, once or more often, is gone by one that is kept.
    """
    one_input = target(name).one_input
    candidates = {path.read_bytes() for path in (*inputs(name), *_of_run(found))}
    kept: dict[bytes, set[Step]] = {}
    reached: Counter[Step] = Counter()
    for data in sorted(candidates, key=lambda data: (len(data), data)):
        steps = _steps(one_input, data)
        if steps - reached.keys():
            kept[data] = steps
            reached.update(steps)
    for data, steps in list(kept.items()):
        if all(reached[step] > 1 for step in steps):  # larger ones, which came later, go them as well
            del kept[data]
            reached.subtract(steps)
    for path in inputs(name):
        path.unlink()
    for data in kept:
        (CORPUS / name / sha256(data).hexdigest()[:12]).write_bytes(data)
    return len(kept)


def _of_run(found: Path) -> Iterator[Path]:
    return (path for path in found.iterdir() if not path.name.startswith(("crash-", "timeout-")))


Step = tuple[str, int, int, bool]


def _steps(one_input: Any, data: bytes) -> set[Step]:
    """Every step from one line of the package, or of the target, to another that an input leads to.

    And whether it does so once or more often.
    """
    counts: Counter[tuple[str, int, int]] = Counter()

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_WATCHED):
            return None
        last = 0

        def on_line(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal last
            counts[name, last, frame.f_lineno] += 1
            last = frame.f_lineno
            return on_line

        return on_line

    sys.settrace(on_call)
    try:
        one_input(data)
    finally:
        sys.settrace(None)
    return {(*step, count > 1) for step, count in counts.items()}
