"""Shows numbers as their format does, where the number alone means something else: percentages, codes with zeros."""

import re
from decimal import ROUND_HALF_UP, Decimal

_QUOTED = re.compile(r'"[^"]*"|\[[^\]]*\]|_.|\*.')
"""Parts of a format that are no digits: text, colours and conditions, blanks as wide as a character, fillers."""
_PERCENT = re.compile(r"[^%]*?[0#](?:\.([0#?]+))?\s*%")
_CODE = re.compile(r"[0\\ ()/.-]*")
_ZEROS = 2
"""A format of so many zeros is a code: a postcode, a number of an article."""
_MAX_DIGITS = 15
_LARGEST = 10**_MAX_DIGITS
"""A percentage beyond it is shown as the number is. Spreadsheets have no more digits."""


def is_special(form: str) -> bool:
    """Return whether `formatted` shows numbers of this format in another way than without it."""
    form = _first(form)
    return bool(_PERCENT.match(form)) or _is_code(form)


def formatted(value: float, form: str) -> str | float:
    """Return a number as its format shows it; the number itself if the format does not change what it means."""
    form = _first(form)
    percent = _PERCENT.match(form)
    if percent and abs(value) < _LARGEST:
        shown = Decimal(repr(value)).scaleb(2).quantize(Decimal(1).scaleb(-len(percent[1] or "")), ROUND_HALF_UP)
        return f"{shown:f}%"
    if _is_code(form) and float(value).is_integer() and 0 <= value < _LARGEST:
        return _code(str(int(value)), form)
    return value


def _first(form: str) -> str:
    """Return the section for positive numbers, without what is no digit."""
    return _QUOTED.sub("", form).partition(";")[0].strip()


def _is_code(form: str) -> bool:
    """Return whether a format has only zeros and signs between them, as ``00000`` and ``000-00``."""
    return form.count("0") >= _ZEROS and "." not in form.replace("\\.", "") and bool(_CODE.fullmatch(form))


def _code(digits: str, form: str) -> str:
    """Return digits in the places of the zeros, from the right. Those that have none stand before them."""
    places = form.replace("\\", "")
    rest = list(digits.zfill(places.count("0")))
    written = [rest.pop() if character == "0" else character for character in reversed(places)]
    return "".join((*rest, *reversed(written)))
