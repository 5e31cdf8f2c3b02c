"""What is allowed: TLS versions, handshakes after the first. Pure rules: no socket, no clock, no OpenSSL."""
