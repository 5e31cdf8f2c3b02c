"""How Sphinx makes a site of these pages: ``make docs``. Each of them reads well as a plain file, too."""

from pathlib import Path

from sphinx.application import Sphinx

import tlsproxy

project = "tlsproxy"
author = "The tlsproxy maintainers"
copyright = author  # noqa: A001 - Sphinx's word
release = version = tlsproxy.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

# Anchors as GitHub makes them of headings, so that a link leads to the same place in the file and in the site.
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"  # the signatures stay short; the docstrings have what matters
autodoc_preserve_defaults = True

# What is named in a docstring and has no page: the parts that api.md leaves out, and the standard library.
nitpick_ignore_regex = [
    (r"py:.*", r"tlsproxy\.(tls|net|ops|service|cli)(\..*)?"),
    (r"py:.*", r"collections\.abc\..*"),
]

html_theme = "furo"
html_title = f"tlsproxy {release}"
html_show_copyright = False
html_copy_source = False


def list_modules(app: Sphinx, docname: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx passes them by position
    """Every module without network and clock, at the end of ``api.md``."""
    if docname == "api":
        source[0] += (
            "\n```{eval-rst}\n" + "".join(f".. automodule:: {name}\n" for name in pure_modules()) + "```\n"
        )


def pure_modules() -> list[str]:
    package = Path(tlsproxy.__file__).parent
    files = [package / "errors.py", package / "notes.py"]
    for part in ("policy", "fronts", "identity", "config"):
        files += sorted((package / part).rglob("*.py"))
    names = [".".join(file.relative_to(package.parent).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", list_modules)
