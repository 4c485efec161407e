"""The site of the documentation: every page has its place, links lead somewhere, readers fetch nothing elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from documentation.markdown import PROJECT_PAGES, MissingTargetError, SiteLinks
from documentation.navigation import navigation, pages_of
from tests.support.pages import ROOT, page, pages

SECTION = "Development"
TEXT = "`make docs` builds the pages as a site; its navigation is the index; broken links fail"
INDEX = """# Documentation

Words: [glossary](glossary.md). Start with the [README](../README.md).

## Guides

- Develop: [handlers](how-to/handlers.md), [publish](how-to/publish.md),
  [test](how-to/test.md#tools)
- [Others](how-to/others.md): all that is left, and [handlers](how-to/handlers.md) again

## Acceptance

[Acceptance](acceptance.md) lists the tests.
"""
FROM_ELSEWHERE = re.compile(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="(?:https?:)?//[^"]+"')
needs_mkdocs = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("material") is None,
    reason="MkDocs is not installed here; `make docs` installs it and builds the site as this test does",
)


@pytest.mark.requirement(SECTION, TEXT)
def test_the_navigation_has_every_page_once() -> None:
    index = page("docs/index.md").text
    found = pages_of(navigation(index, home="index.md", project=[*PROJECT_PAGES.values()]))
    in_docs = [of.name.removeprefix("docs/") for of in pages() if of.name.startswith("docs/")]

    assert sorted(found) == sorted([*in_docs, *PROJECT_PAGES.values()])
    assert found[0] == "index.md"


def test_every_page_outside_of_docs_is_part_of_the_site() -> None:
    assert {of.name for of in pages() if not of.name.startswith("docs/")} == set(PROJECT_PAGES)


def test_the_navigation_follows_the_lists_of_the_index() -> None:
    """Sections and labels are groups; a page stands where it is named first; one page is no group."""
    assert navigation(INDEX, home="index.md", project=["changelog.md"]) == [
        "index.md",
        {
            "Guides": [
                {"Develop": ["how-to/handlers.md", "how-to/publish.md", "how-to/test.md"]},
                "how-to/others.md",
            ]
        },
        "acceptance.md",
        "glossary.md",
        {"Project": ["changelog.md"]},
    ]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("README.md", "docs/glossary.md", "docs/how-to/test.md", "docs/pictures/a.svg", "streams/topics.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("link", "on_the_site"),
    [
        ("[words](../glossary.md#lane)", "[words](../glossary.md#lane)"),
        ("[how\nto](test.md)", "[how\nto](test.md)"),
        ("[README](../../README.md#two-commands)", "[README](../overview.md#two-commands)"),
        ("[topics](../../streams/topics.py)", "[topics](https://forge.example/p/blob/v1/streams/topics.py)"),
        ("![a way](../pictures/a.svg)", "![a way](../pictures/a.svg)"),
        ("[here](#lane)", "[here](#lane)"),
        ("[Kafka](https://kafka.apache.org)", "[Kafka](https://kafka.apache.org)"),
        ("```text output\n[x](nowhere.md)\n```", "```text\n[x](nowhere.md)\n```"),
        ("```python a/b.py\npass\n```", '```python title="a/b.py"\npass\n```'),
    ],
)
def test_links_and_blocks_are_rewritten_for_the_site(repository: Path, link: str, on_the_site: str) -> None:
    links = SiteLinks(repository, "https://forge.example/p/blob/v1/")
    assert links.rewrite(link, file="docs/how-to/use.md", place="how-to/use.md") == on_the_site


def test_a_page_of_the_project_links_into_the_site(repository: Path) -> None:
    links = SiteLinks(repository, None)
    text = "[words](docs/glossary.md) ![a way](docs/pictures/a.svg) [topics](streams/topics.py)"
    shown = links.rewrite(text, file="README.md", place="overview.md")
    assert shown == "[words](glossary.md) ![a way](pictures/a.svg) topics"


@pytest.mark.parametrize("target", ["nowhere.md", "../../streams/nothing.py", "../../../outside.md", "/etc/hosts"])
def test_a_link_to_a_missing_file_is_an_error(repository: Path, target: str) -> None:
    """Also one that leads out of the repository."""
    links = SiteLinks(repository, "https://forge.example/p")
    with pytest.raises(MissingTargetError, match="links to"):
        links.rewrite(f"[x]({target})", file="docs/how-to/use.md", place="how-to/use.md")


def build(project: Path, to: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(to)],
        cwd=project,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@needs_mkdocs
def test_a_strict_build_has_all_pages_and_fetches_nothing(tmp_path: Path) -> None:
    """Pictures and the AsyncAPI document come along; no page loads a script, a font or a picture from elsewhere."""
    built = build(ROOT, tmp_path / "site")
    assert built.returncode == 0, built.stderr
    site = tmp_path / "site"
    expected = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*") if path.is_file()]
    expected = [path.with_suffix(".html") if path.suffix == ".md" else path for path in expected]
    assert [str(path) for path in expected if not (site / path).is_file()] == []
    texts = {str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert {name: FROM_ELSEWHERE.findall(text) for name, text in texts.items() if FROM_ELSEWHERE.search(text)} == {}
    # A block that the Markdown extension does not understand is shown as text.
    assert [
        name for name, text in texts.items() if "```" in re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)
    ] == []


@needs_mkdocs
@pytest.mark.parametrize("targets", [["nowhere.md"], ["index.md#no-such", "#none"]], ids=["page", "headings"])
def test_a_broken_link_fails_the_build(tmp_path: Path, targets: list[str]) -> None:
    """A missing page; a missing heading of another page, and one of the page itself."""
    project = tmp_path / "project"
    for folder in ("docs", "documentation"):
        shutil.copytree(ROOT / folder, project / folder)
    for name in (*PROJECT_PAGES, "LICENSE", "mkdocs.yml"):
        shutil.copy(ROOT / name, project)
    for folder in ("examples", "deploy"):
        (project / folder).symlink_to(ROOT / folder)
    with (project / "docs" / "glossary.md").open("a", encoding="utf-8") as glossary:
        glossary.writelines(f"\nSee [x]({target}).\n" for target in targets)

    built = build(project, tmp_path / "site")

    assert built.returncode == 1
    complaints = [line for line in built.stderr.splitlines() if "glossary.md" in line]
    assert [target for target in targets if not any(target in line for line in complaints)] == []
