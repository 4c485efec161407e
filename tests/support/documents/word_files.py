"""Creates Word files from raw XML, as programs other than the libraries that read them write it."""

from collections.abc import Mapping

from tests.support.documents.office_files import package, relationships

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_STRICT_W = "http://purl.oclc.org/ooxml/wordprocessingml/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_STRICT_R = "http://purl.oclc.org/ooxml/officeDocument/relationships"
NAMESPACES = (
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:v="urn:schemas-microsoft-com:vml"'
)


def run(text: str) -> str:
    """Return a run of text."""
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*content: str) -> str:
    """Return a paragraph. What does not begin with a tag is the text of a run."""
    return f"<w:p>{''.join(one if one.startswith('<') else run(one) for one in content)}</w:p>"


def field(code: str, result: str) -> str:
    """Return a complex field as Word writes it, with its code in two pieces."""
    half = len(code) // 2
    codes = "".join(
        f'<w:r><w:instrText xml:space="preserve">{part}</w:instrText></w:r>' for part in (code[:half], code[half:])
    )
    begin, separate, end = (f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "separate", "end"))
    return f"{begin}{codes}{separate}{result}{end}"


def cell(*content: str, properties: str = "") -> str:
    """Return a cell of a table."""
    inner = "".join(one if one.startswith(("<w:p>", "<w:tbl>")) else paragraph(one) for one in content)
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inner or paragraph()}</w:tc>"


def table(*rows: str) -> str:
    """Return a table of rows, each the content of a ``w:tr``."""
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"


def document(body: str, *, strict: bool = False) -> str:
    """Return the main part of a Word file."""
    main, related = (_STRICT_W, _STRICT_R) if strict else (_W, _R)
    return f'<w:document xmlns:w="{main}" xmlns:r="{related}" {NAMESPACES}><w:body>{body}</w:body></w:document>'


def notes(kind: str, texts: Mapping[int, str]) -> str:
    """Return the part of the footnotes or endnotes, with the separator that Word adds."""
    inner = "".join(f'<w:{kind} w:id="{number}">{paragraph(text)}</w:{kind}>' for number, text in texts.items())
    separator = f'<w:{kind} w:type="separator" w:id="-1">{paragraph("line")}</w:{kind}>'
    return f'<w:{kind}s xmlns:w="{_W}" xmlns:r="{_R}">{separator}{inner}</w:{kind}s>'


def word_file(
    body: str,
    *related: tuple[str, str, str],
    strict: bool = False,
    parts: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """Return a Word file.

    Args:
        body: the content of the body.
        related: the relationships of the main part: id, kind and target.
        strict: whether to use the names of the strict format.
        parts: further parts.
    """
    types = _STRICT_R if strict else _R
    return package(
        {
            "_rels/.rels": relationships(("rId1", "officeDocument", "word/document.xml"), types=types),
            "word/document.xml": document(body, strict=strict),
            "word/_rels/document.xml.rels": relationships(*related, types=types),
            **(parts or {}),
        }
    )


def flat_word_file(body: str) -> bytes:
    """Return a "Word XML document": all parts in one XML file."""
    name = "http://schemas.microsoft.com/office/2006/xmlPackage"
    main = relationships(("rId1", "officeDocument", "word/document.xml"))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><?mso-application progid="Word.Document"?>'
        f'<pkg:package xmlns:pkg="{name}">'
        f'<pkg:part pkg:name="/_rels/.rels"><pkg:xmlData>{main}</pkg:xmlData></pkg:part>'
        f'<pkg:part pkg:name="/word/document.xml"><pkg:xmlData>{document(body)}</pkg:xmlData></pkg:part></pkg:package>'
    ).encode()
