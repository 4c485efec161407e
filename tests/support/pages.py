"""Parses the pages of the documentation into blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = ("bash", "python")
SILENT = ("text", "toml", "json", "yaml")
"""Languages of blocks that are never run."""
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the rest of its first line, and the reason why it is not run."""

    language: str
    info: str
    text: str
    reason: str | None

    @property
    def is_output(self) -> bool:
        """Whether the block has the output of the block before it."""
        return self.language == "text" and self.info == "output"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the documentation, named by its path in the project."""

    name: str
    text: str
    blocks: tuple[Block, ...]


def runnable(block: Block) -> bool:
    """Return whether the snippet tests run the block."""
    return block.language in RUN and block.reason is None


def pages() -> list[Page]:
    """Return the README, the other pages in its folder, and all pages in docs."""
    return [_page(path) for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))]


def _page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    blocks = tuple(
        Block(*_split(match["info"]), text=match["text"], reason=match["reason"]) for match in _BLOCK.finditer(text)
    )
    return Page(str(path.relative_to(ROOT)), text, blocks)


def _split(info: str) -> tuple[str, str]:
    language, _, rest = info.strip().partition(" ")
    return language, rest


def page(name: str) -> Page:
    """Return one page by its path in the project."""
    return _page(ROOT / name)


def accepted_tests() -> list[str]:
    """Return the tests that the acceptance page names, as ``path::name``."""
    return sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", page("docs/acceptance.md").text)))
