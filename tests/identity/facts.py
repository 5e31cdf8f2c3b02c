"""Addresses and TLS facts for the tests of headers."""

from ipaddress import ip_address

from hypothesis import strategies as st

from tlsproxy.identity.client import ClientAddress, TlsFacts


def end(ip: str, port: int) -> ClientAddress:
    return ClientAddress(ip_address(ip), port)


CLIENT4, SERVER4 = end("192.0.2.1", 51234), end("198.51.100.7", 25)
CLIENT6, SERVER6 = end("2001:db8::1", 51234), end("2001:db8:ffff::7", 25)
UNIX = ClientAddress(None)

TLS12 = TlsFacts("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", 128)
TLS13 = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "X25519", "mx.example.org", "smtp")

ports = st.integers(0, 65535)
ends4 = st.builds(ClientAddress, st.ip_addresses(v=4), ports)
ends6 = st.builds(ClientAddress, st.ip_addresses(v=6), ports)
ends = ends4 | ends6
