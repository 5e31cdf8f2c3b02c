"""The client and the backend, compiled on the spot, and certificates for all."""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.machine import pinned

HERE = Path(__file__).parent
STALLED = 120.0
"""Seconds after which a client that has said nothing is given up: it ends itself long before."""


class MeasurementError(Exception):
    """There is no figure: what is missing, or what went wrong."""


@frozen
class Programs:
    """Paths of the compiled client and backend."""

    load: Path
    backend: Path

    @classmethod
    def compile(cls, directory: Path) -> Self:
        """:raises MeasurementError: No compiler, or no headers of OpenSSL."""
        compiler = shutil.which("cc")
        if compiler is None:
            raise MeasurementError("no C compiler (cc). On Debian: apt-get install gcc libc6-dev libssl-dev")
        built = {}
        for name, libraries in (("load", ["-lssl", "-lcrypto"]), ("backend", [])):
            built[name] = directory / name
            command: list[str | Path] = [
                compiler,
                "-O2",
                "-std=gnu11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-o",
                built[name],
            ]
            result = subprocess.run(
                [*command, HERE / f"{name}.c", *libraries], capture_output=True, text=True, check=False
            )
            if result.returncode:
                raise MeasurementError(f"{name}.c can't be compiled (is libssl-dev there?):\n{result.stderr}")
        return cls(**built)


@frozen
class Certificate:
    """Self-signed: everybody sends the same."""

    chain: Path
    key: Path
    combined: Path

    @classmethod
    def make(cls, directory: Path, stem: str, name: str = "bench.example") -> Self:
        """:param stem: Of the files' names; ``rsa`` has an RSA key of 2048 bits, all others one on P-256."""
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if stem == "rsa":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        chain = certificate.public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(
            _written(directory / f"{stem}.pem", chain),
            _written(directory / f"{stem}.key", private),
            _written(directory / f"{stem}-combined.pem", private + chain),
        )


def _written(path: Path, content: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(content)
    return path


@define
class Backend:
    """The backend, running on the client's core."""

    ports: dict[str, int]
    """Of its services: raw, smtp, http, auth."""
    pid: int
    _process: subprocess.Popen[str]

    @classmethod
    def start(cls, programs: Programs, core: int) -> Self:
        with pinned(core):
            process = subprocess.Popen(
                [programs.backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert process.stdout is not None
        return cls(json.loads(process.stdout.readline()), process.pid, process)

    def stop(self) -> None:
        """It ends when its standard input does."""
        self._process.communicate(timeout=10)


@define
class Load:
    """One run of the client, step by step: :meth:`start`, :meth:`go`, :meth:`stop`."""

    pid: int
    _process: subprocess.Popen[str] = field(repr=False)

    @classmethod
    def start(cls, programs: Programs, core: int, mode: str, *options: object) -> Self:
        """Start it; it prepares its connections."""
        with pinned(core):
            process = subprocess.Popen(
                [programs.load, mode, *map(str, options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        return cls(process.pid, process)

    def wait_until_ready(self) -> None:
        """Wait until its connections are up.

        :raises MeasurementError: It can't run.
        """
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            _, errors = self._process.communicate(timeout=10)
            raise MeasurementError(f"the client failed: {errors.strip()}")

    def go(self) -> dict[str, Any]:
        """Have it measure, once more if it has already."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        result: dict[str, Any] = json.loads(self._process.stdout.readline())
        return result

    def stop(self) -> None:
        """Close its connections."""
        try:
            self._process.communicate(timeout=STALLED)
        finally:
            self._process.kill()
