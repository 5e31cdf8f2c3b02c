"""The demonstration's web server: it says what it was told of the request."""

from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site


class Told(Resource):
    """Answers every path with the request's header fields."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def render_GET(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """The fields, one on a line, as plain text."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        fields = sorted(request.requestHeaders.getAllRawHeaders())
        return b"".join(b"%b: %b\n" % (name, b", ".join(values)) for name, values in fields)


def web_site() -> Site:
    """A web server for plaintext."""
    site = Site(Told())  # type: ignore[no-untyped-call]
    site.noisy = False
    return site
