"""The names of elements and attributes in Office files. The transitional and the strict format differ in namespaces."""

from collections.abc import Callable, Iterator
from functools import lru_cache

from lxml import etree

_PREFIXES = {
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main": "w",
    "http://purl.oclc.org/ooxml/wordprocessingml/main": "w",
    "http://schemas.openxmlformats.org/officeDocument/2006/math": "m",
    "http://purl.oclc.org/ooxml/officeDocument/math": "m",
    "http://schemas.openxmlformats.org/drawingml/2006/main": "a",
    "http://purl.oclc.org/ooxml/drawingml/main": "a",
    "http://schemas.openxmlformats.org/drawingml/2006/chart": "c",
    "http://purl.oclc.org/ooxml/drawingml/chart": "c",
    "http://schemas.openxmlformats.org/drawingml/2006/diagram": "dgm",
    "http://purl.oclc.org/ooxml/drawingml/diagram": "dgm",
    "http://schemas.openxmlformats.org/presentationml/2006/main": "p",
    "http://purl.oclc.org/ooxml/presentationml/main": "p",
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships": "r",
    "http://purl.oclc.org/ooxml/officeDocument/relationships": "r",
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc",
    "urn:schemas-microsoft-com:vml": "v",
}


@lru_cache(maxsize=4096)
def name_of(tag: object) -> str:
    """Return the name of an element or attribute with its usual prefix, as ``w:p``; other namespaces have none.

    What is no element, as an entity, has the empty name.
    """
    if not isinstance(tag, str):
        return ""
    namespace, _, local = tag.removeprefix("{").rpartition("}")
    prefix = _PREFIXES.get(namespace)
    return f"{prefix}:{local}" if prefix else f":{local}"


def attribute(element: etree._Element, name: str) -> str | None:
    """Return the attribute of a name with its prefix, as ``w:val``; None: the element has none."""
    for key, value in element.attrib.items():
        if name_of(key) == name:
            return str(value)
    return None


def child(element: etree._Element, *names: str) -> etree._Element | None:
    """Return the first child of a name, its first child of the next name, and so on; None: there is none."""
    found: etree._Element | None = element
    for name in names:
        found = next((one for one in found if name_of(one.tag) == name), None) if found is not None else None
    return found


def read_branch(alternatives: etree._Element) -> etree._Element | None:
    """Return the branch of an ``mc:AlternateContent`` to read: the first one with a text or an image, else the first.

    The branches show the same in newer and in older programs.
    """
    branches = [one for one in alternatives if name_of(one.tag) in {"mc:Choice", "mc:Fallback"}]
    return next((branch for branch in branches if _has_content(branch)), branches[0] if branches else None)


def _has_content(branch: etree._Element) -> bool:
    for number, element in enumerate(branch.iter(etree.Element)):
        # A large branch is not empty. Branches inside of branches would be looked through again and again.
        if name_of(element.tag) in _CONTENT or number > _LOOKED_AT:
            return True
    return False


def unwrapped(container: etree._Element, is_wrapper: Callable[[str], bool]) -> Iterator[etree._Element]:
    """Yield the children of an element. Those of a wrapper, and of the branch to read, come in its place."""
    waiting: list[Iterator[etree._Element]] = [iter(container)]
    while waiting:
        element = next(waiting[-1], None)
        if element is None:
            waiting.pop()
            continue
        name = name_of(element.tag)
        if name == "mc:AlternateContent":
            branch = read_branch(element)
            waiting.append(iter(branch if branch is not None else ()))
        elif is_wrapper(name):
            waiting.append(iter(element))
        elif name:
            yield element


_LOOKED_AT = 1000
"""Elements of a branch."""
_CONTENT = frozenset({"w:t", "a:t", "m:t", "a:blip", "v:imagedata", "v:textpath", "c:chart", "dgm:relIds"})
