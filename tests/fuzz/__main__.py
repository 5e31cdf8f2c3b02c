"""``python -m tests.fuzz TARGET``: fuzz it. ``make fuzz`` does so with each."""

import argparse
import sys
from pathlib import Path

from tests.fuzz.corpus import CORPUS, TARGETS, minimize, target

FOUND = Path("var/fuzz")
"""What a run leaves behind, one directory for each target: inputs that reached something new, and ``crash-…`` files."""


def main() -> int:
    """Run the fuzzer, or take what it found into the corpus."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=100_000, help="executions (100000)")
    parser.add_argument("--seconds", type=int, default=0, help="end after this time, if it comes first")
    parser.add_argument(
        "--minimize", action="store_true", help="take what earlier runs found into the corpus"
    )
    arguments = parser.parse_args()
    found = FOUND / arguments.target
    found.mkdir(parents=True, exist_ok=True)
    if arguments.minimize:
        kept = minimize(arguments.target, found)
        print(f"{arguments.target}: {kept} files in the corpus")
        return 0
    fuzz(arguments.target, found, runs=arguments.runs, seconds=arguments.seconds)
    return 0


def fuzz(name: str, found: Path, *, runs: int, seconds: int) -> None:
    """Run libFuzzer, which ends the process: with 0, or with another status when an input broke the invariant."""
    import atheris

    with atheris.instrument_imports(include=["tlsproxy"]):
        module = target(name)
    dictionary = found.with_suffix(".dict")
    dictionary.write_text("".join(f'"{_escaped(token)}"\n' for token in module.TOKENS))
    options = [
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        f"-max_len={module.MAX_SIZE}",
        f"-dict={dictionary}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
        "-timeout=10",
    ]
    atheris.Setup([sys.argv[0], *options, str(found), str(CORPUS / name)], module.one_input)
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    sys.exit(main())
