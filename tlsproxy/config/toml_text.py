"""Values as TOML writes them, for messages and listings."""

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_SHOWN = 80
"""Characters of a value quoted in a message: enough to find it in the file."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(value: Any) -> str:
    """A value read from TOML, as it could stand in the file, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            # JSON's escapes are TOML's, except that TOML wants DEL escaped as well.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(map(toml_text, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{toml_key(key)} = {toml_text(item)}' for key, item in value.items())}}}"
        case _:
            return str(value)


def shown(value: Any) -> str:
    """A value in a message: on one line, and not longer than a reader needs."""
    text = toml_text(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def toml_key(key: str) -> str:
    """A key as it has to be written: bare, or in quotes."""
    return key if _BARE_KEY.fullmatch(key) else toml_text(key)


def key_path(path: str, key: str) -> str:
    """The path of ``key`` in the table at ``path``."""
    return f"{path}.{toml_key(key)}" if path else toml_key(key)
