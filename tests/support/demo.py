"""``tlsproxy demo`` as ``make run`` starts it, but on free ports and in a directory of its own."""

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.processes import Program, free_ports

CONFIG = Path(__file__).parents[2] / "etc" / "demo.toml"

_PORT = re.compile(r'^((?:servers = \[|(?:metrics|status)_listen = )"127\.0\.0\.1:)[0-9]+', re.MULTILINE)
_LISTEN = re.compile(r'^( *address = "127\.0\.0\.1:)[0-9]+', re.MULTILINE)


class Demo(Program):
    """A running demonstration.

    :ivar directory: Where it was started; commands are pasted there.
    """

    def __init__(self, directory: Path, *, env: Mapping[str, str] | None = None) -> None:
        tlsproxy = shutil.which("tlsproxy", path=str(Path(sys.executable).parent))
        assert tlsproxy is not None
        self.directory = directory
        super().__init__([tlsproxy, "demo"], env=env, cwd=directory)

    @classmethod
    def start(
        cls, directory: Path, *, config: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
    ) -> Self:
        """Start, and wait until everything is printed.

        :param config: What to replace in the configuration.
        """
        write_config(directory, config or {})
        demo = cls(directory, env=env)
        try:
            demo.wait_for_output("^Ctrl-C ends it")
        except BaseException:
            demo.stop()
            raise
        return demo

    def examples(self) -> list[tuple[str, str]]:
        """What is promised, and the command, of each that was printed."""
        printed = self.output.partition("To try from another terminal")[2].partition("Ctrl-C ends it")[0]
        return re.findall(r"^# ([^\n]*):\n([^#\n][^\n]*)$", printed, re.MULTILINE)

    def inbox(self) -> list[bytes]:
        """The messages in the Maildir, oldest first."""
        new = self.directory / "var" / "maildir" / "new"
        paths = sorted(new.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in paths]


def write_config(directory: Path, replaced: Mapping[str, str]) -> Path:
    """Write ``etc/demo.toml`` below ``directory``."""
    text = CONFIG.read_text()
    ports = iter(free_ports(len(_PORT.findall(text))))
    text = _PORT.sub(lambda match: f"{match[1]}{next(ports)}", _LISTEN.sub(r"\g<1>0", text))
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    path = directory / "etc" / "demo.toml"
    path.parent.mkdir()
    path.write_text(text)
    return path
