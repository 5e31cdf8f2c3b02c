"""A real nginx for tests: one process of its own, in the foreground, with what a test writes into its configuration."""

from pathlib import Path

from tests.support.processes import Program
from tests.support.programs import require, unavailable

_STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def start_nginx(directory: Path, ports: list[int], *, stream: str = "", http: str = "") -> Program:
    """Start nginx with the servers in ``stream`` and ``http``, and wait until it listens on ``ports``."""
    nginx = require("nginx", package="nginx")
    if stream and not _STREAM_MODULE.exists():
        unavailable(f"{_STREAM_MODULE} isn't there (Debian package libnginx-mod-stream)")
    directory.mkdir(exist_ok=True)
    temporary = "".join(
        f"{name}_temp_path {directory}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    config.write_text(
        f"{f'load_module {_STREAM_MODULE};' if stream else ''}\n"
        f"daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log stderr info;\n"
        "events { worker_connections 512; }\n"
        f"{f'stream {{ {stream} }}' if stream else ''}\n"
        f"{f'http {{ access_log off; {temporary} {http} }}' if http else ''}\n"
    )
    program = Program([nginx, "-c", config, "-p", directory])
    try:
        program.wait_for_port(*ports)
    except BaseException:
        program.stop()
        raise
    return program
