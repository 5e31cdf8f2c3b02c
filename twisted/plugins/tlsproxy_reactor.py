"""Makes ``twistd --reactor tlsproxy`` known."""

from twisted.application.reactors import Reactor

tlsproxy = Reactor("tlsproxy", "tlsproxy.net.reactor", "epoll(7) for many short connections (tlsproxy).")
