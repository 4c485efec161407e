"""Writes the equations of Office files (OMML) on one line: ``x=(a+b)/2c``. Many of their signs are no text there."""

from lxml import etree

from streams.dify.extraction.office.markup import attribute, child, name_of

_BETWEEN = {"m:den": "/", "m:sup": "^", "m:sub": "_"}
"""The signs before parts of an equation that would otherwise run together."""
_BEGIN = {"m:d": ("m:dPr", "m:begChr", "("), "m:nary": ("m:naryPr", "m:chr", "∫"), "m:rad": ("", "", "√")}
"""The signs that begin parts of an equation: where their characters are, and what they are if not there."""


def sign_before(element: etree._Element) -> str:
    """Return the sign that stands before the content of an element; empty: it has none."""
    name = name_of(element.tag)
    if name in _BETWEEN:
        return _BETWEEN[name] if len(element) else ""
    return _sign(element, *_BEGIN[name]) if name in _BEGIN else ""


def sign_after(element: etree._Element) -> str:
    """Return the sign that stands after the content of an element; empty: it has none."""
    return _sign(element, "m:dPr", "m:endChr", ")") if name_of(element.tag) == "m:d" else ""


def equation_text(equation: etree._Element) -> str:
    """Return the text of an ``m:oMath``."""
    pieces = []
    for event, element in etree.iterwalk(equation, events=("start", "end")):
        if event == "end":
            pieces.append(sign_after(element))
        else:
            pieces.append(sign_before(element))
            pieces.append((element.text or "") if name_of(element.tag) == "m:t" else "")
    return "".join(pieces)


def _sign(element: etree._Element, properties: str, name: str, default: str) -> str:
    """Return a sign of an equation. One that is not shown is stored as an empty one."""
    stored = child(element, properties, name)
    value = attribute(stored, "m:val") if stored is not None else None
    return default if value is None else value
