"""What the fuzzer has found a way to still holds, and every target is in order."""

from pathlib import Path

import pytest

from tests.fuzz.corpus import TARGETS, inputs, target

FILES = [(name, path) for name in TARGETS for path in inputs(name)]


@pytest.mark.parametrize(("name", "path"), FILES, ids=[f"{name}-{path.name}" for name, path in FILES])
def test_the_invariant_holds_for_each_input_of_the_corpus(name: str, path: Path) -> None:
    target(name).one_input(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_what_holds_and_takes_anything(name: str) -> None:
    module = target(name)
    assert module.__doc__
    for data in (b"", bytes(40), b"\xff" * 40, *module.TOKENS):
        module.one_input(data)


@pytest.mark.parametrize("name", TARGETS)
def test_a_corpus_is_small(name: str) -> None:
    sizes = [path.stat().st_size for path in inputs(name)]
    assert 0 < len(sizes) <= 100
    assert max(sizes) <= 4096
