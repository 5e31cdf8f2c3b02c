"""A Twisted reactor over epoll(7) for many short connections; ``twistd --reactor tlsproxy`` chooses it.

Twisted's own pays for each event with a log context, and its TCP transport writes only when the next turn of the loop has
found the socket writable: two epoll_ctl(2) and one epoll_wait(2) for each reply. Here a connection's events go straight to
it, and what is written is sent at once; writability is asked for when the kernel didn't take everything. All the rest
(Unix sockets, timers, threads, processes, name resolution) is Twisted's, and every protocol runs on either.
"""

from tlsproxy.net.reactor.reactor import ProxyReactor, install

__all__ = ["ProxyReactor", "install"]
