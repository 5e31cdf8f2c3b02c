"""CPU of the TLS engine alone, with peers in memory: `python benchmarks/engine.py`.

Only what the engine does is timed, in CPU time; what the client does in between isn't.
"""

import argparse
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL

from tlsproxy.config.declaration import FileName
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import KINDS
from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.contexts import ContextStore, ServerContext
from tlsproxy.tls.engine import Engine
from tlsproxy.tls.library import library_version

READ_SIZE = 64 * 1024
"""What one read of a socket gives at most, as in Twisted."""

SETTINGS = Settings()


class Stopwatch:
    """Adds up the CPU time of some calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, call: Callable[..., bytes | None], *arguments: object) -> bytes:
        begin = process_time()
        result = call(*arguments)
        self.seconds += process_time() - begin
        return result or b""


def server_context(directory: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> ServerContext:
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=now,
        not_valid_after=now + timedelta(days=30),
    ).sign(key, hashes.SHA256())
    path = directory / "certificate.pem"
    path.touch(0o600)
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return ContextStore().server_context(Settings(tls_certificate=(FileName(str(path)),)), KINDS["stream"])


def client_context(version: TlsVersion) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    return context


def output(client: SSL.Connection) -> bytes:
    try:
        return client.bio_read(1 << 21)
    except SSL.WantReadError:
        return b""


def connect(
    server: ServerContext, context: SSL.Context, session: SSL.Session | None = None
) -> tuple[Engine, SSL.Connection, float]:
    """An established connection, and the CPU seconds that the engine took for it."""
    client = SSL.Connection(context)
    client.set_connect_state()
    if session is not None:
        client.set_session(session)
    watch = Stopwatch()
    begin = process_time()
    engine = Engine(
        server.new_connection(), protocols=SETTINGS.tls_protocols, policy=SETTINGS.handshake_policy
    )
    watch.seconds += process_time() - begin
    done = False
    while not (done and engine.established):
        try:
            client.do_handshake()
            done = True
        except SSL.WantReadError:
            pass
        data = output(client)
        if data:
            watch(engine.receive, data, 0.0)
        answer = watch(engine.bytes_to_send)
        if answer:
            client.bio_write(answer)
    with suppress(SSL.WantReadError):
        client.recv(1)  # session tickets
    assert engine.facts is not None
    assert engine.facts.resumed is (session is not None)
    return engine, client, watch.seconds


def handshakes(server: ServerContext, version: TlsVersion, count: int, *, resume: bool) -> float:
    """CPU seconds for one handshake."""
    context = client_context(version)
    _, client, _ = connect(server, context)
    client.set_shutdown(SSL.SENT_SHUTDOWN)
    total = 0.0
    for _ in range(count):
        _, client, seconds = connect(server, context, client.get_session() if resume else None)
        total += seconds
        client.set_shutdown(SSL.SENT_SHUTDOWN)  # OpenSSL takes the session for broken otherwise
    return total / count


def round_trips(server: ServerContext, version: TlsVersion, count: int) -> float:
    """CPU seconds for 64 bytes received and 64 sent."""
    engine, client, _ = connect(server, client_context(version))
    message, watch = b"x" * 64, Stopwatch()
    for number in range(count):
        client.send(message)
        data = output(client)
        begin = process_time()
        plaintext = engine.receive(data, float(number))
        engine.bytes_to_send()
        engine.send(message)
        answer = engine.bytes_to_send()
        watch.seconds += process_time() - begin
        assert plaintext == message
        client.bio_write(answer)
        client.recv(64)
    return watch.seconds / count


def bulk(server: ServerContext, version: TlsVersion, mebibytes: int, record: int) -> tuple[float, float]:
    """CPU seconds for a MiB received and for a MiB sent, in records of ``record`` bytes."""
    engine, client, _ = connect(server, client_context(version))
    receiving, sending = Stopwatch(), Stopwatch()
    piece = b"x" * record
    for _ in range(mebibytes):
        for _ in range(0, 1 << 20, record):
            client.send(piece)
        data = output(client)
        for start in range(0, len(data), READ_SIZE):
            receiving(engine.receive, data[start : start + READ_SIZE], 0.0)
            receiving(engine.bytes_to_send)
        plaintext = bytes(READ_SIZE)
        for _ in range(0, 1 << 20, READ_SIZE):
            sending(engine.send, plaintext)
            client.bio_write(sending(engine.bytes_to_send))
        received = 0
        while received < 1 << 20:
            received += len(client.recv(1 << 14))
    return receiving.seconds / mebibytes, sending.seconds / mebibytes


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of the TLS engine alone, with peers in memory")
    parser.add_argument("--handshakes", type=int, default=300, help="of each kind (default: %(default)s)")
    parser.add_argument("--round-trips", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument("--mebibytes", type=int, default=64, help="each way (default: %(default)s)")
    arguments = parser.parse_args()
    print(library_version())
    with tempfile.TemporaryDirectory() as directory:
        keys: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {
            "ECDSA P-256": ec.generate_private_key(ec.SECP256R1()),
            "RSA 2048": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        }
        servers = {label: server_context(Path(directory), key) for label, key in keys.items()}
        for version in (TlsVersion.TLS1_2, TlsVersion.TLS1_3):
            for label, server in servers.items():
                seconds = handshakes(server, version, arguments.handshakes, resume=False)
                print(f"{version.label} handshake, {label:12} {seconds * 1e6:8.0f} us")
            server = servers["ECDSA P-256"]
            seconds = handshakes(server, version, arguments.handshakes, resume=True)
            print(f"{version.label} handshake, resumed      {seconds * 1e6:8.0f} us")
            seconds = round_trips(server, version, arguments.round_trips)
            print(f"{version.label} 64-byte round trip      {seconds * 1e6:8.1f} us")
            for record in (16384, 1024):
                received, sent = bulk(server, version, arguments.mebibytes, record)
                print(f"{version.label} MiB received, records of {record:5} {received * 1e6:8.0f} us")
            print(f"{version.label} MiB sent                {sent * 1e6:8.0f} us")


if __name__ == "__main__":
    main()
