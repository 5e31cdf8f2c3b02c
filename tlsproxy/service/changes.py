"""What a reload can't change."""

from tlsproxy.config.model import Configuration
from tlsproxy.errors import Problem


def why_not_by_reload(running: Configuration, wanted: Configuration) -> tuple[Problem, ...]:
    """The options that differ and take a restart; none, as a rule."""
    problems = []
    if (running.workers.number == 1) != (wanted.workers.number == 1):
        # Who serves is another kind of process.
        problems.append(_problem("workers", running.workers.number, wanted.workers.number))
    if running.log_format is not wanted.log_format:
        # Whoever reads the log would have two formats in one file.
        problems.append(_problem("log_format", running.log_format.value, wanted.log_format.value))
    return tuple(problems)


def _problem(option: str, running: object, wanted: object) -> Problem:
    return Problem(option, f"can't be changed from {running} to {wanted} by a reload: restart the service")
