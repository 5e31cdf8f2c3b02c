"""A TLS server as its clients see it: what it speaks, told by trying. Nothing here judges or opens a socket."""
