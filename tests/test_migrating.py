"""docs/migrating.md: what ``tlsproxy import`` makes of the samples before is what stands after them."""

import re
import tomllib
from pathlib import Path

import pytest

from tlsproxy.config.importing.momentum import import_momentum
from tlsproxy.config.importing.postfix import import_postfix
from tlsproxy.config.importing.remarks import Imported

PAGE = (Path(__file__).parents[1] / "docs/migrating.md").read_text()


def samples(section: str) -> tuple[str, str]:
    """The sample before and the one after, in a section of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = [block for _, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    return blocks[-2], blocks[-1]


def postfix() -> Imported:
    main, _, master = samples("Postfix")[0].partition("# master.cf\n")
    return import_postfix(main, master)


def momentum() -> Imported:
    return import_momentum(samples("Momentum")[0], "ecelerity.conf", lambda *_: [])


@pytest.mark.parametrize(("section", "imported"), [("Postfix", postfix()), ("Momentum", momentum())])
def test_what_is_imported_is_the_sample_that_stands_after(section: str, imported: Imported) -> None:
    assert imported.complete
    assert tomllib.loads(imported.toml) == tomllib.loads(samples(section)[1])


def test_every_parameter_named_in_the_table_of_postfix_is_looked_at() -> None:
    """The table can't name what the importer doesn't know."""
    importer = Path(__file__).parents[1] / "tlsproxy/config/importing"
    source = "".join(path.read_text() for path in importer.glob("postfix*.py"))
    table = PAGE.partition("| Postfix | tlsproxy |")[2].partition("\n\n")[0]
    names = [
        name
        for name in re.findall(r"`(\w+)`", re.sub(r"\|[^|]*\|\n", "|\n", table))
        if name.startswith("smtpd_")
    ]
    assert len(names) > 15
    assert [name for name in names if f'"{name}"' not in source] == []
