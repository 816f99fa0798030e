"""The pages of docs/ agree with the code."""

import dataclasses
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from test_architecture import EVERYWHERE, MAY_IMPORT

import yolojax
from yolojax.config import Config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def fields_of(config_class, prefix=""):
    for field in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(field.type):
            yield from fields_of(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def test_the_config_reference_is_that_of_the_code():
    path = DOCS / "make_config_reference.py"
    spec = importlib.util.spec_from_file_location("make_config_reference", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    expected = script.reference(script.SOURCE.read_text())
    assert (DOCS / "config.md").read_text() == expected, "run python docs/make_config_reference.py"
    rows = re.findall(r"^\| `([a-z_.]+)` \|", expected, re.MULTILINE)
    assert sorted(rows) == sorted(fields_of(Config))


def test_every_config_field_that_a_page_names_exists():
    known = (*fields_of(Config),)
    for page in PAGES:
        for name in re.findall(r"--config\.([a-z_.]+)", page.read_text()):
            assert f"{name}.".startswith(tuple(f"{field}." for field in known)), (page, name)


def public(kind):
    """Names that a user of the class `kind` may use: fields, properties and methods."""
    fields = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    return {*fields, *(name for name in vars(kind) if not name.startswith("_"))}


@pytest.mark.parametrize("name", yolojax.__all__)
def test_the_api_page_has_every_name_and_argument(name):
    sections = re.split(r"^## ", (DOCS / "api.md").read_text(), flags=re.MULTILINE)
    (section,) = (text for text in sections if text.startswith(f"`yolojax.{name}"))
    item = getattr(yolojax, name)
    documented = set(re.findall(r"^\| `(\w+)", section, re.MULTILINE))
    if not inspect.isclass(item):
        assert documented == set(inspect.signature(item).parameters)
        return
    assert documented == public(item)
    for method, signature in re.findall(r"^\| `(\w+)\((.*?)\)`", section, re.MULTILINE):
        assert signature == signature_of(getattr(item, method))


def signature_of(function):
    """As on the page: argument names with their defaults, no annotations."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return str(inspect.Signature(plain))[1:-1]


def test_the_architecture_page_has_the_imports_that_are_allowed():
    rows = {}
    text = (DOCS / "architecture.md").read_text()
    for names, cell in re.findall(r"^\| (`[`\w, ]+`) \| .* \| ?(.*)\|$", text, re.MULTILINE):
        allowed = {"*"} if cell.strip() == "everything" else {*re.findall(r"\w+", cell)}
        rows |= dict.fromkeys(re.findall(r"`(\w+)`", names), allowed)
    assert rows.keys() >= EVERYWHERE
    assert rows == {name: MAY_IMPORT[name] for name in MAY_IMPORT if not name.startswith("__")}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles]
            assert heading in anchors, target


def test_the_readme_links_every_page():
    text = (ROOT / "README.md").read_text()
    assert [p.name for p in DOCS.glob("*.md") if f"(docs/{p.name})" not in text] == []


def test_the_pages_stay_short():
    counted = [ROOT / "README.md", *(p for p in DOCS.glob("*.md") if p.name != "config.md")]
    assert sum(len(page.read_text().split()) for page in counted) <= 13_000
