"""Lines go where twistd's options say, and a log that fails harms nobody."""

import io
import json
import os
import signal
import subprocess
import sys
import syslog
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, LogPublisher, eventAsText
from twisted.python import log as legacy_log
from twisted.python.failure import Failure

import tlsproxy
from tests.ops.notes import NOTE_KINDS, sample
from tlsproxy.notes import Level, Note, ServiceStopped, SessionStarted, TlsRefused
from tlsproxy.ops.lines import JsonLines, TextLines
from tlsproxy.ops.logging import (
    HELD,
    HELD_FOR,
    JournalSink,
    LogObserver,
    StreamSink,
    SyslogSink,
    attach,
    is_journal,
    publish_line,
    publish_notes,
    stream_observer,
    twistd_observer,
)

LOGGED = [kind for kind in NOTE_KINDS if kind.logged]

stopped = ServiceStopped(sessions_cut=0)
started = sample(SessionStarted)


class Broken(io.StringIO):
    """A stream that fails until it is mended."""

    broken = True

    def write(self, data: str, /) -> int:
        if self.broken:
            raise BrokenPipeError
        return super().write(data)


def json_log() -> tuple[LogPublisher, io.StringIO]:
    stream = io.StringIO()
    return LogPublisher(LogObserver(JsonLines(), StreamSink(stream))), stream


def decoded(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_published_note_is_the_whole_line() -> None:
    publisher, stream = json_log()
    publish_notes(publisher, clock=lambda: 0.5)(stopped)
    assert stream.getvalue() == (
        '{"time":"1970-01-01T00:00:00.500000Z","level":"info","event":"stopped","sessions_cut":0}\n'
    )


@pytest.mark.parametrize("kind", LOGGED, ids=lambda kind: kind.event)
def test_every_note_reaches_the_log_at_its_level(kind: type[Note]) -> None:
    publisher, stream = json_log()
    publish_notes(publisher)(sample(kind))
    [line] = decoded(stream)
    assert (line["event"], line["level"]) == (kind.event, kind.level.value)


@pytest.mark.parametrize("kind", [kind for kind in NOTE_KINDS if not kind.logged])
def test_what_is_only_counted_is_not_logged(kind: type[Note]) -> None:
    publisher, stream = json_log()
    publish_notes(publisher)(sample(kind))
    assert decoded(stream) == []


@pytest.mark.parametrize("kind", LOGGED, ids=lambda kind: kind.event)
def test_other_observers_see_a_note_as_its_readable_line(kind: type[Note]) -> None:
    """``--logger`` and tests have observers of their own."""
    events: list[LogEvent] = []
    publish_notes(events.append, clock=lambda: 1.0)(sample(kind))
    text = eventAsText(events[0], includeTimestamp=False, includeSystem=False)
    assert text == TextLines(with_time=False).note(sample(kind), 1.0)


def test_twisted_events_come_out_in_the_same_form() -> None:
    publisher, stream = json_log()
    Logger("twisted.web", observer=publisher).warn("port {port}\nbusy", port=25)
    [line] = decoded(stream)
    assert (line["level"], line["event"], line["namespace"]) == ("warning", "twisted", "twisted.web")
    assert line["message"] == "port 25\nbusy"


def test_debug_events_are_left_out() -> None:
    publisher, stream = json_log()
    Logger("twisted.web", observer=publisher).debug("noise")
    assert stream.getvalue() == ""


def test_an_unhandled_error_comes_with_its_traceback_once() -> None:
    publisher, stream = json_log()
    failure = Failure(ZeroDivisionError("by zero"))
    Logger("twisted.internet.defer", observer=publisher).failure("Unhandled error in Deferred", failure)
    [line] = decoded(stream)
    assert (line["level"], line["message"]) == ("error", "Unhandled error in Deferred")
    assert line["traceback"].rstrip().endswith("ZeroDivisionError: by zero")


@pytest.mark.parametrize(("why", "message"), [(None, "Unhandled error"), ("accept", "accept")])
def test_an_error_of_the_old_log_is_told_once_too(why: str | None, message: str) -> None:
    publisher, stream = json_log()
    old_log = legacy_log.LogPublisher(publisher, publisher)
    old_log.msg(failure=Failure(ZeroDivisionError("by zero")), why=why, isError=1)
    [line] = decoded(stream)
    assert line["message"] == message
    assert "ZeroDivisionError: by zero" in line["traceback"]


def test_a_failing_sink_is_counted_and_raises_nothing() -> None:
    stream, losses = Broken(), []
    observer = LogObserver(JsonLines(), StreamSink(stream), lambda: losses.append(1))
    notify = publish_notes(observer)
    notify(stopped)
    notify(stopped)
    stream.broken = False
    notify(stopped)
    assert (observer.lost, len(losses)) == (2, 2)
    assert len(decoded(stream)) == 1


def test_an_event_that_can_not_be_printed_is_counted_and_raises_nothing() -> None:
    observer = LogObserver(JsonLines(), StreamSink(io.StringIO()))
    observer({"log_time": "no time", "tlsproxy_note": stopped})
    assert observer.lost == 1


class Later:
    """A reactor's ``callLater``."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay: float, call: Callable[[], None]) -> None:
        self.calls.append((delay, call))

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for _, call in calls:
            call()


def patient() -> tuple[LogObserver, io.StringIO, Later]:
    stream, later = io.StringIO(), Later()
    observer = LogObserver(JsonLines(), StreamSink(stream))
    observer.hold_back(later)
    return observer, stream, later


def test_a_note_taken_straight_is_the_line_that_a_published_one_is() -> None:
    stream = io.StringIO()
    LogObserver(JsonLines(), StreamSink(stream)).take(stopped)
    [line] = decoded(stream)
    assert (line["event"], line["sessions_cut"]) == ("stopped", 0)


@pytest.mark.parametrize("kind", [kind for kind in NOTE_KINDS if not kind.logged])
def test_what_is_only_counted_is_not_written_straight_either(kind: type[Note]) -> None:
    stream = io.StringIO()
    LogObserver(JsonLines(), StreamSink(stream)).take(sample(kind))
    assert stream.getvalue() == ""


def test_sessions_informational_lines_wait_for_others_but_not_long() -> None:
    observer, stream, later = patient()
    observer.take(started)
    observer.write_line(Level.INFO, "{}")
    assert stream.getvalue() == ""
    assert [delay for delay, _ in later.calls] == [HELD_FOR]
    later.run()
    assert len(decoded(stream)) == 2
    observer.take(started)
    assert len(later.calls) == 1


def test_a_warning_takes_along_at_once_what_waits() -> None:
    observer, stream, _ = patient()
    observer.take(started)
    observer.take(sample(TlsRefused))
    assert [line["event"] for line in decoded(stream)] == ["session_started", "tls_refused"]


def test_what_the_service_says_takes_along_at_once_what_waits() -> None:
    observer, stream, _ = patient()
    observer.take(started)
    observer.take(stopped)
    assert [line["event"] for line in decoded(stream)] == ["session_started", "stopped"]


def test_what_twisted_says_takes_along_at_once_what_waits() -> None:
    observer, stream, _ = patient()
    observer.take(started)
    Logger("twisted", observer=observer).info("Server Shut Down.")
    assert [line["event"] for line in decoded(stream)] == ["session_started", "twisted"]


def test_no_more_lines_wait_than_a_hundred_kilobytes() -> None:
    observer, stream, _ = patient()
    for _ in range(HELD + 1):
        observer.take(started)
    assert len(decoded(stream)) == HELD


def test_every_line_that_waited_in_vain_is_counted() -> None:
    stream, losses, later = Broken(), [], Later()
    observer = LogObserver(JsonLines(), StreamSink(stream), lambda: losses.append(1))
    observer.hold_back(later)
    for _ in range(3):
        observer.take(started)
    later.run()
    stream.broken = False
    observer.take(sample(TlsRefused))
    assert (observer.lost, len(losses)) == (3, 3)
    assert [line["event"] for line in decoded(stream)] == ["tls_refused"]


def test_where_only_warnings_are_wanted_the_rest_is_not_written() -> None:
    stream = io.StringIO()
    observer = LogObserver(JsonLines(), StreamSink(stream), warnings_only=True)
    observer.take(started)
    observer.take(stopped)
    observer.write_line(Level.INFO, "{}")
    Logger("twisted", observer=observer).info("Server Shut Down.")
    publish_notes(observer)(stopped)
    assert stream.getvalue() == ""
    observer.take(sample(TlsRefused))
    Logger("twisted", observer=observer).warn("odd")
    assert [line["event"] for line in decoded(stream)] == ["tls_refused", "twisted"]
    assert observer.lost == 0


def test_the_end_of_a_process_writes_what_waits() -> None:
    program = (
        "from tlsproxy.ops.logging import *; from tlsproxy.ops.lines import *; from tlsproxy.notes import *; "
        "observer = LogObserver(JsonLines(), StreamSink(sys.stdout)); observer.hold_back(lambda *_: None); "
        "observer.take(SessionStarted(session='3', client='', listen='', kind='stream'))"
    )
    output = subprocess.run(
        [sys.executable, "-c", "import sys; " + program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert json.loads(output)["session"] == "3"


def test_the_journal_gets_a_priority_before_every_line() -> None:
    stream = io.StringIO()
    sink = JournalSink(stream)
    sink.write(Level.INFO, "fine")
    sink.write(Level.WARNING, "odd")
    sink.write(Level.ERROR, "bad\n    | traceback")
    sink.flush()
    assert stream.getvalue() == "<6>fine\n<4>odd\n<3>bad\n<3>    | traceback\n"


@pytest.fixture
def pipe() -> Iterator[io.TextIOWrapper]:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        yield stream
    os.close(reading)


def journal_environ(stream: io.TextIOWrapper) -> dict[str, str]:
    status = os.fstat(stream.fileno())
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_the_journal_is_known_by_device_and_inode(pipe: io.TextIOWrapper) -> None:
    assert is_journal(pipe, journal_environ(pipe))
    assert not is_journal(pipe, {})
    assert not is_journal(pipe, {"JOURNAL_STREAM": "8:1"}), "redirected since systemd started the process"
    assert not is_journal(io.StringIO(), journal_environ(pipe)), "no file at all"


def test_the_journal_gets_no_time_in_readable_lines() -> None:
    with Path(os.devnull).open("w") as stream:
        in_journal = stream_observer("text", stream, environ=journal_environ(stream))
        elsewhere = stream_observer("text", stream, environ={})
    assert (in_journal._format, in_journal._sink) == (TextLines(with_time=False), JournalSink(stream))
    assert (elsewhere._format, elsewhere._sink) == (TextLines(with_time=True), StreamSink(stream))


def test_syslog_gets_priority_and_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(syslog, "openlog", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(syslog, "syslog", lambda *arguments: calls.append(arguments))
    observer = twistd_observer("text", {"syslog": True, "prefix": "mx", "nodaemon": True})
    assert observer is not None
    publish_notes(observer)(stopped)
    SyslogSink("mx").write(Level.ERROR, "bad\n    | traceback")
    assert calls == [
        ("mx", syslog.LOG_PID, syslog.LOG_DAEMON),
        (syslog.LOG_INFO, "info stopped: stopped, 0 sessions cut"),
        ("mx", syslog.LOG_PID, syslog.LOG_DAEMON),
        (syslog.LOG_ERR, "bad"),
        (syslog.LOG_ERR, "    | traceback"),
    ]


@pytest.fixture
def no_rotation_signal() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("options", [{"nodaemon": True}, {"nodaemon": True, "logfile": "-"}])
def test_twistd_in_the_foreground_writes_to_standard_output(
    options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    observer = twistd_observer("json", options)
    assert observer is not None
    publish_notes(observer)(stopped)
    assert json.loads(capsys.readouterr().out)["event"] == "stopped"


@pytest.mark.usefixtures("no_rotation_signal")
def test_twistd_in_the_background_writes_to_its_log_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for options, name in [
        ({"logfile": "x.log", "nodaemon": True}, "x.log"),
        ({"nodaemon": False}, "twistd.log"),
    ]:
        observer = twistd_observer("json", options)
        assert observer is not None
        publish_notes(observer)(stopped)
        assert json.loads((tmp_path / name).read_text())["event"] == "stopped"
        observer._sink.stream.close()


@pytest.mark.parametrize(
    "options",
    [{"logger": "operators.own", "nodaemon": True}, {"logfile": "-", "nodaemon": False}, {}],
)
def test_what_is_not_ours_to_decide_is_left_to_whoever_runs_us(options: dict[str, Any]) -> None:
    assert twistd_observer("json", options) is None


def test_twistd_takes_the_observer_from_the_application() -> None:
    application, observer = Application("tlsproxy"), LogObserver(JsonLines(), StreamSink(io.StringIO()))
    assert attach(application, observer)
    assert application.getComponent(ILogObserver) is observer


def test_a_parent_without_a_log_is_left_alone() -> None:
    assert not attach(object(), LogObserver(JsonLines(), StreamSink(io.StringIO())))
    application = Application("tlsproxy")
    assert not attach(application, None)
    assert application.getComponent(ILogObserver, None) is None


PLUGIN = """
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.logger import Logger
from tlsproxy.notes import ServiceStopped
from tlsproxy.ops.logging import attach, publish_notes, twistd_observer

class Speaker(Service):
    def setServiceParent(self, parent):
        super().setServiceParent(parent)
        attach(parent, self.observer)

    def startService(self):
        publish_notes()(ServiceStopped(sessions_cut=7))
        Logger("elsewhere").warn("foreign")
        print("printed")
        reactor.callWhenRunning(self.finish)

    def finish(self):
        try:
            1 / 0
        except ZeroDivisionError:
            Logger("elsewhere").failure("caught")
        reactor.stop()

from twisted.application import app
from twisted.scripts import _twistd_unix, twistd

class Runner(_twistd_unix.UnixApplicationRunner):
    def createOrGetApplication(self):
        from twisted.application.service import Application
        application, speaker = Application("tlsproxy"), Speaker()
        speaker.observer = twistd_observer("json", self.config)
        speaker.setServiceParent(application)
        return application

app.run(lambda config: Runner(config).run(), twistd.ServerOptions)
"""


@pytest.mark.parametrize("to_file", [False, True])
def test_under_twistd_every_line_is_json(tmp_path: Path, to_file: bool) -> None:
    """Notes, Twisted's own events, what is printed, and tracebacks; nothing else gets between them."""
    (tmp_path / "run.py").write_text(PLUGIN)
    arguments = ["--nodaemon", "--no_save", "--pidfile=", *(["--logfile=x.log"] if to_file else [])]
    process = subprocess.run(
        [sys.executable, "run.py", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(tlsproxy.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr == ""
    output = (tmp_path / "x.log").read_text() if to_file else process.stdout
    lines = [json.loads(line) for line in output.splitlines()]
    assert {"level": "info", "event": "stopped", "sessions_cut": 7}.items() <= lines[2].items()
    told = [(line["namespace"], line["message"]) for line in lines if line["event"] == "twisted"]
    assert {("elsewhere", "foreign"), ("stdout", "printed"), ("elsewhere", "caught")} <= set(told)
    assert [line["traceback"].splitlines()[-1] for line in lines if "traceback" in line] == [
        "builtins.ZeroDivisionError: division by zero"
    ]
    assert LogLevel.critical.name not in output


def test_a_line_of_another_process_is_written_as_it_is() -> None:
    stream = io.StringIO()
    observer = LogObserver(TextLines(), StreamSink(stream))
    observer.write_line(Level.WARNING, "2026 warning stopped: so {it} is")
    assert stream.getvalue() == "2026 warning stopped: so {it} is\n"


def test_a_line_of_another_process_that_cannot_be_written_is_counted() -> None:
    losses: list[None] = []
    observer = LogObserver(TextLines(), StreamSink(Broken()), lambda: losses.append(None))
    observer.write_line(Level.INFO, "line")
    assert (observer.lost, len(losses)) == (1, 1)


def test_other_observers_see_a_line_of_another_process() -> None:
    events: list[LogEvent] = []
    publish_line(Level.WARNING, "so {it} is", events.append)
    [event] = events
    assert event["log_level"] is LogLevel.warn
    assert eventAsText(event, includeTimestamp=False, includeSystem=False) == "so {it} is"


@pytest.mark.parametrize(
    ("form", "timed"), [(TextLines(), True), (TextLines(with_time=False), False), (JsonLines(), True)]
)
def test_an_observer_knows_whether_its_lines_say_when(form: Any, timed: bool) -> None:
    assert LogObserver(form, StreamSink(io.StringIO())).timed is timed
