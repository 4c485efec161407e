"""Reads XHTML and SVG as the XML that they are.

There an empty tag may close itself. In HTML it would swallow the rest of the chapter.
"""

import re
from collections.abc import Mapping
from html.entities import html5

from lxml import etree

from streams.dify.extraction.encodings import decode_text
from streams.dify.extraction.web.page import declared_encoding, page_text, visible_text

_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_OF_XML = frozenset({"amp", "lt", "gt", "quot", "apos"})
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>", re.IGNORECASE)
_DECLARED = re.compile(r"""<!ENTITY\s+([A-Za-z][A-Za-z0-9]{1,31})\s+["']([^"'<>&%]{1,100})["']\s*>""")
"""An entity of the chapter's own, which is characters only: none can contain another."""
_HEAD = 8_192
"""Characters in which the document type of a chapter ends. In one that is longer, the parser reads it."""


def xhtml_text(content: bytes) -> str:
    """Return the visible text of a chapter. One that is no well-formed XML is read as HTML. Raises ExtractionError."""
    text = _with_characters(decode_text(content, declared_encoding(content)))
    parser = etree.XMLParser(
        target=visible_text(), encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        parser.feed(text.encode("utf-8", "replace"))
        return str(parser.close())
    except etree.XMLSyntaxError:
        return page_text(text)


def _with_characters(text: str) -> str:
    """Return XML without its document type, and with the characters of the entities that the type would define."""
    head = _DECLARATION.sub("", text[:_HEAD])
    doctype = _DOCTYPE.search(head)
    own = dict(_DECLARED.findall(doctype[0])) if doctype else {}
    text = _DOCTYPE.sub("", head, count=1) + text[_HEAD:]
    return _ENTITY.sub(lambda found: found[0] if found[1] in _OF_XML else _characters(found[1], own, found[0]), text)


def _characters(name: str, own: Mapping[str, str], reference: str) -> str:
    return own.get(name) or html5.get(f"{name};", reference)
