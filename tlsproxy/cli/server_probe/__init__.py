"""``tlsproxy probe HOST:PORT``: an outside view of any server."""
