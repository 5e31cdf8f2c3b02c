"""What every test shares."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.support.certificates import Authority

# No deadline, and no complaint about slow data: a busy machine must not turn a right program into a failing test.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("brief", _PATIENT, max_examples=10)
settings.register_profile("quick", _PATIENT, max_examples=100)
settings.register_profile("ci", _PATIENT, max_examples=200, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "quick"))


# A shell's background jobs ignore SIGINT (POSIX sh, "Asynchronous Lists"), and so would every program that a test starts.
# One that is caught here is at its default there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority whose files lie in a directory of their own."""
    return Authority(tmp_path_factory.mktemp("authority"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests measured (``record_property``)."""
    figures = [
        (report.nodeid, name, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
    ]
    if figures:
        terminalreporter.section("figures measured")
    for nodeid, name, value in figures:
        shown = f"{value:.4g}" if isinstance(value, float) else value
        terminalreporter.write_line(f"{nodeid}: {name} = {shown}")
