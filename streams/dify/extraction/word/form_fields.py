"""Reads the form fields of older Word forms: check boxes and drop-down lists, which have no stored result."""

from lxml import etree

from streams.dify.extraction.office.markup import attribute, child, name_of

CHECKED, UNCHECKED = "☒", "☐"
_FALSE = frozenset({"0", "false", "off"})
_WINGDINGS = {0xA8: UNCHECKED, 0x6F: UNCHECKED, 0x71: UNCHECKED, 0xFB: "✗", 0xFC: "✓", 0xFD: CHECKED, 0xFE: "☑"}
"""Boxes and ticks of the font Wingdings, by which forms show what is chosen."""


def form_field_text(character: etree._Element) -> str:
    """Return what a form field shows by its data, in the ``w:fldChar`` that begins it; empty: it has a stored result.

    Raises nothing: a list without its chosen entry shows nothing.
    """
    data = child(character, "w:ffData")
    for control in data if data is not None else ():
        if name_of(control.tag) == "w:checkBox":
            stored = child(control, "w:checked")
            stored = stored if stored is not None else child(control, "w:default")
            is_checked = stored is not None and (attribute(stored, "w:val") or "1") not in _FALSE
            return CHECKED if is_checked else UNCHECKED
        if name_of(control.tag) == "w:ddList":
            return _chosen(control)
    return ""


def symbol_text(font: str, number: int) -> str:
    """Return a character of a font of symbols; empty: it is no text.

    Args:
        font: the name of the font.
        number: the code of the character, in the font or in its place in the private area of Unicode.
    """
    return _WINGDINGS.get(number & 0xFF, "") if font.lower() == "wingdings" else ""


def _chosen(control: etree._Element) -> str:
    entries = [attribute(one, "w:val") or "" for one in control if name_of(one.tag) == "w:listEntry"]
    stored = child(control, "w:result")
    stored = stored if stored is not None else child(control, "w:default")
    number = (attribute(stored, "w:val") or "") if stored is not None else "0"
    place = int(number) if number.isdecimal() and len(number) <= len(str(len(entries))) else len(entries)
    return entries[place] if place < len(entries) else ""
