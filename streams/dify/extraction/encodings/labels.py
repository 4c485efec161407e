"""Finds the codecs of a declared encoding. Labels mean what they mean in browsers (WHATWG's Encoding Standard)."""

import codecs

import webencodings

_WIDER = {
    "big5": ("big5hkscs", "cp950"),
    "euc-jp": ("euc_jp", "euc_jis_2004"),
    "gbk": ("gb18030",),
    "iso-2022-jp": ("iso2022_jp", "iso2022_jp_ext", "iso2022_jp_2004"),
    # A page whose label can be read is in an encoding that contains ASCII.
    "utf-16be": ("utf-8",),
    "utf-16le": ("utf-8",),
    "x-user-defined": (),
}
"""Codecs in the order of the attempts, by the standard's name. Others have the codec of their own name."""
_UNSAFE_IN_BROWSERS = {
    "csiso2022kr": ("iso2022_kr",),
    "hz-gb-2312": ("hz",),
    "iso-2022-kr": ("iso2022_kr",),
}
"""Encodings that browsers refuse, since scripts can hide in them. No text is run here."""


def page_codecs(label: str) -> tuple[str, ...]:
    """Return the codecs of a label in a page; none for an unknown label."""
    encoding = webencodings.lookup(label)
    if encoding is None:
        return ()
    if encoding.name == "replacement":
        return _UNSAFE_IN_BROWSERS.get(label.strip().lower(), ())
    return _WIDER.get(encoding.name, (str(encoding.codec_info.name),))


def mail_codecs(label: str) -> tuple[str, ...]:
    """Return the codecs of a label in an e-mail. Mail has older encodings than pages, and UTF-16 without a mark."""
    name = label.strip().lower()
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return page_codecs(name)
    if found.name == "ascii":
        # Programs write it without a look at the text. Bytes beyond ASCII are of another encoding then.
        return ()
    known = () if found.name.startswith("utf-16") else page_codecs(name)
    if known:
        return known
    # base64, rot13 and the like are codecs too, and no encodings of text.
    return (found.name,) if getattr(found, "_is_text_encoding", False) else ()
