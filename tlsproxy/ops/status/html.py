"""HTML by construction: text is escaped unless it is :class:`Markup`, which only :func:`element` and its kin make.

Names on the status page were chosen by clients, certificate authorities and whoever else: none can become markup.
"""

from collections.abc import Iterable
from html import escape
from typing import Final

from tlsproxy.ops.status.words import printable

MAX_TEXT: Final = 300
"""Characters of one text: a long name is legible by then, and a page has a few hundred of them."""

_VOID: Final = frozenset({"meta", "link", "input", "rect", "path", "circle"})
"""Elements without content, in HTML and in SVG, where the parser wants the slash at their end."""


class Markup(str):
    """HTML that is in order."""

    __slots__ = ()


Content = str | int | float | Iterable["Content"] | None


def text(value: str) -> Markup:
    """``value`` as text, whatever is in it: unprintable characters are shown as escapes, what is too long is cut."""
    return Markup(escape(printable(value, MAX_TEXT), quote=True))


def join(*content: Content) -> Markup:
    """Contents one after the other; None is nothing."""
    return Markup("".join(_flat(content)))


def element(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Markup:
    """``<name attributes>content</name>``.

    :param attributes: ``class_`` stands for ``class``, underscores for hyphens; False and None leave one out.
    """
    opening = "".join([f"<{name}", *(_attribute(*each) for each in attributes.items())])
    return Markup(f"{opening}/>" if name in _VOID else f"{opening}>{join(*content)}</{name}>")


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{text(str(value))}"'


def _flat(content: Content) -> Iterable[str]:
    if content is None:
        return
    if isinstance(content, Markup):
        yield content
    elif isinstance(content, str | int | float):
        yield text(str(content))
    else:
        for each in content:
            yield from _flat(each)
