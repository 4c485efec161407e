"""The pages of the documentation, taken apart: which blocks they have, which of them are run."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = ("bash", "python")
SILENT = ("text", "toml", "json")
"""Languages of blocks that hold nothing to run."""
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the rest of its first line, why it is not run."""

    language: str
    info: str
    text: str
    reason: str | None

    @property
    def is_output(self) -> bool:
        """Holds lines that the block before it prints."""
        return self.language == "text" and self.info == "output"


@dataclass(frozen=True, slots=True)
class Page:
    """A page by its path in the project."""

    name: str
    text: str
    blocks: tuple[Block, ...]


def runnable(block: Block) -> bool:
    """Whether the snippet tests run it."""
    return block.language in RUN and block.reason is None


def pages() -> list[Page]:
    """README, the other pages beside it, and all of docs, folders included."""
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
    """One page by its path in the project."""
    return _page(ROOT / name)


def accepted_tests() -> list[str]:
    """The tests that the acceptance page names, as ``path::name``."""
    return sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", page("docs/acceptance.md").text)))
