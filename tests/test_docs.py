"""What the documents say is so: samples are valid, and nothing that exists is left out."""

import configparser
import re
import runpy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from tests.ops.notes import NOTE_KINDS
from tlsproxy import errors
from tlsproxy.cli.demo.certificates import ensure_certificates
from tlsproxy.config.parse import parse
from tlsproxy.notes import Note, SessionNote
from tlsproxy.service.prepare import prepare

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LOGGING = (ROOT / "docs/logging.md").read_text()

SAMPLE = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^]]*\]\((?P<target>[^)#\s]*)(?:#(?P<anchor>[^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FIELD = re.compile(r"^- `(\w+)`", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def toml_samples() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for number, sample in enumerate(SAMPLE.findall(document.read_text()), start=1):
            yield f"{name(document)}-{number}", sample
    for file in sorted((ROOT / "etc").glob("*.toml")):
        yield name(file), file.read_text()


SAMPLES = dict(toml_samples())


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_every_sample_configuration_is_valid(sample: str) -> None:
    configuration = parse(sample, "/etc/tlsproxy/tlsproxy.toml")
    assert configuration.listeners
    assert configuration.warnings == ()


def test_the_demonstration_starts_without_a_warning(tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "var", datetime.now(UTC))
    (tmp_path / "etc").mkdir()
    demo = tmp_path / "etc/demo.toml"
    demo.write_text((ROOT / "etc/demo.toml").read_text())
    assert prepare(demo).warnings == ()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_parts_that_follow_from_the_code_are_as_the_code_has_them(document: Path) -> None:
    """``make docs`` writes them."""
    text = document.read_text()
    assert runpy.run_path(str(ROOT / "docs/generate.py"))["generated"](text) == text


def anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = HEADING.findall(document.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in LINK.finditer(document.read_text()):
        if "://" not in link["target"]:
            target = (document.parent / link["target"]).resolve() if link["target"] else document
            assert target.exists(), link[0]
            assert link["anchor"] is None or link["anchor"] in anchors(target), link[0]


def sections() -> dict[str, str]:
    """The events in the documentation of the log, by name."""
    _, _, events = LOGGING.partition("## Events\n")
    return {part.split("`")[1]: part for part in events.split("### ")[1:]}


@pytest.mark.parametrize("kind", NOTE_KINDS, ids=lambda kind: kind.event)
def test_every_event_is_documented_with_its_level_and_fields(kind: type[Note]) -> None:
    common = {field.name for field in attrs.fields(SessionNote)} if issubclass(kind, SessionNote) else set()
    section = sections()[kind.event]
    assert section.startswith(f"`{kind.event}` ({kind.level.value})\n")
    assert set(FIELD.findall(section)) == {field.name for field in attrs.fields(kind)} - common


def test_no_event_is_documented_that_does_not_exist() -> None:
    assert sections().keys() == {kind.event for kind in NOTE_KINDS} | {"twisted"}


def test_the_fields_of_every_session_are_documented() -> None:
    common = LOGGING.partition("## Fields of every session\n")[2].partition("\n## ")[0]
    assert set(FIELD.findall(common)) == {field.name for field in attrs.fields(SessionNote)}


@pytest.mark.parametrize("error", errors.TlsError.__subclasses__(), ids=lambda error: error.__name__)
def test_every_reason_for_which_tls_ends_a_session_is_documented(error: type[errors.TlsError]) -> None:
    assert f"`{error.reason}`" in LOGGING


def test_the_libraries_and_their_oldest_versions_are_those_of_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = dict(
        requirement.lower().split(" >= ")
        for requirement in setup["options"]["install_requires"].split("\n")
        if requirement
    )
    rows = re.findall(r"^\| (.*?) \| ([\d.]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {library.lower(): version for names, version in rows for library in names.split(", ")} == required
