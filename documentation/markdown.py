"""Rewrites a page of the repository for the site: its links, and the first lines of its code blocks."""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

PROJECT_PAGES = {
    "README.md": "overview.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages outside of docs that are part of the site, with their place in it."""
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^```(?P<language>\w+) (?P<info>\S+)$", re.MULTILINE)


class MissingTargetError(Exception):
    """A link leads to a file that the repository does not have."""


class SiteLinks:
    """Resolves links between files of the repository to links of the site.

    Args:
        root: The folder of the repository.
        repository: The address of its files on a forge, such as `https://forge.example/project/blob/v1.0.0`. Without
            one, a link to a file that is not part of the site becomes its text.
    """

    def __init__(self, root: Path, repository: str | None) -> None:
        self.root = root
        self.repository = repository.rstrip("/") if repository else None

    def rewrite(self, text: str, *, file: str, place: str) -> str:
        """Return the text of a page as the site shows it.

        Args:
            text: The page as it is in the repository.
            file: Its path in the repository.
            place: Its path in the site's sources.

        Raises:
            MissingTargetError: A link to a file does not lead to one.
        """
        parts, end = [], 0
        for block in _FENCED.finditer(text):
            parts += [self._prose(text[end : block.start()], file, place), _titled(block[0])]
            end = block.end()
        return "".join([*parts, self._prose(text[end:], file, place)])

    def _prose(self, text: str, file: str, place: str) -> str:
        return _LINK.sub(lambda link: self._link(link, file, place), text)

    def _link(self, link: re.Match[str], file: str, place: str) -> str:
        path, mark, heading = link["target"].partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return link[0]
        target = normpath(join(dirname(file), path))
        if target.startswith(("../", "/")) or not (self.root / target).exists():
            raise MissingTargetError(f"{file} links to {link['target']}, which does not exist")
        inside = PROJECT_PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if inside:
            address = relpath(inside, dirname(place) or ".")
        elif self.repository:
            address = f"{self.repository}/{target}"
        else:
            return link["text"]
        return f"{link['picture']}[{link['text']}]({address}{mark}{heading})"


def _titled(block: str) -> str:
    """Return a code block whose file name, if it has one, is a title as the Markdown extension writes it."""
    return _FENCE.sub(
        lambda fence: f"```{fence['language']}" + ("" if fence["info"] == "output" else f' title="{fence["info"]}"'),
        block,
        count=1,
    )
