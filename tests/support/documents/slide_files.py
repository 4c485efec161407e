"""Creates presentations from raw XML, as programs other than the libraries that read them write it."""

from collections.abc import Mapping, Sequence

from tests.support.documents.office_files import package, relationships

_NAMES = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
)


def text_body(*paragraphs: str, tag: str = "p:txBody") -> str:
    """Return a body of text."""
    return f"<{tag}>{''.join(f'<a:p><a:r><a:t>{text}</a:t></a:r></a:p>' for text in paragraphs)}</{tag}>"


def shape(*paragraphs: str, placeholder: str | None = None) -> str:
    """Return a shape with text. A placeholder has a type, as ``title``."""
    kind = f'<p:ph type="{placeholder}"/>' if placeholder else ""
    return f"<p:sp><p:nvSpPr><p:nvPr>{kind}</p:nvPr></p:nvSpPr>{text_body(*paragraphs)}</p:sp>"


def slide_table(*rows: Sequence[str]) -> str:
    """Return a table. The text ``^`` continues the cell above."""
    inner = "".join(f"<a:tr>{''.join(map(_cell, row))}</a:tr>" for row in rows)
    return (
        f"<p:graphicFrame><a:graphic><a:graphicData><a:tbl>{inner}</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )


def _cell(text: str) -> str:
    if text == "^":
        return f'<a:tc vMerge="1">{text_body(tag="a:txBody")}</a:tc>'
    return f"<a:tc>{text_body(text, tag='a:txBody')}</a:tc>"


def slide_page(*shapes: str, tag: str = "p:sld") -> str:
    """Return a slide, or another page with shapes."""
    return f"<{tag} {_NAMES}><p:cSld><p:spTree>{''.join(shapes)}</p:spTree></p:cSld></{tag}>"


def presentation(*slides: str, order: Sequence[int] = (), parts: Mapping[str, str | bytes] | None = None) -> bytes:
    """Return a presentation.

    Args:
        slides: the slides, whose parts are numbered from 1.
        order: the numbers in the order of the presentation; without it, all of them.
        parts: further parts.
    """
    numbers = range(1, len(slides) + 1)
    listed = "".join(f'<p:sldId r:id="rId{number}"/>' for number in order or numbers)
    related = relationships(*((f"rId{number}", "slide", f"slides/slide{number}.xml") for number in numbers))
    return package(
        {
            "_rels/.rels": relationships(("rId1", "officeDocument", "ppt/presentation.xml")),
            "ppt/presentation.xml": f"<p:presentation {_NAMES}><p:sldIdLst>{listed}</p:sldIdLst></p:presentation>",
            "ppt/_rels/presentation.xml.rels": related,
            **{f"ppt/slides/slide{number}.xml": page for number, page in zip(numbers, slides, strict=True)},
            **(parts or {}),
        }
    )
