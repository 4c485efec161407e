"""Hooks of MkDocs: the navigation from docs/index.md, the pages outside of docs, and the links between both."""

import os
from pathlib import Path
from typing import Protocol

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from documentation.markdown import PROJECT_PAGES, MissingTargetError, SiteLinks
from documentation.navigation import Entry, navigation

ROOT = Path(__file__).parents[1]
HOME = "index.md"
_LINKS = SiteLinks(ROOT, os.environ.get("REPOSITORY_URL"))


class Config(Protocol):
    """What the hooks use of the configuration of MkDocs."""

    nav: list[Entry] | None


class Page(Protocol):
    """What the hooks use of a page of MkDocs."""

    file: File


def on_config(config: Config) -> Config:
    """Set the navigation."""
    index = (ROOT / "docs" / HOME).read_text(encoding="utf-8")
    config.nav = navigation(index, home=HOME, project=[*PROJECT_PAGES.values()])
    return config


def on_files(files: Files, config: Config) -> Files:
    """Add the pages of the project that are outside of docs."""
    for name, place in PROJECT_PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: Config, files: Files) -> str:  # noqa: ARG001 - MkDocs passes them by name
    """Rewrite the page for the site. A link to a missing file ends the build."""
    place = page.file.src_uri
    origins = {place: name for name, place in PROJECT_PAGES.items()}
    try:
        return _LINKS.rewrite(markdown, file=origins.get(place, f"docs/{place}"), place=place)
    except MissingTargetError as error:
        raise PluginError(str(error)) from error
