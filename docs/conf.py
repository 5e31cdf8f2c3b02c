"""How Sphinx makes a site of these pages: ``make docs``. Each of them reads well as a plain file, too."""

import tlsproxy

project = "tlsproxy"
author = "The tlsproxy maintainers"
copyright = author  # noqa: A001 - Sphinx's word
release = version = tlsproxy.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]

# Anchors as GitHub makes them of headings, so that a link leads to the same place in the file and in the site.
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"tlsproxy {release}"
html_show_copyright = False
html_copy_source = False
