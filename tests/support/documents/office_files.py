"""Creates Office files from raw XML, as programs other than the libraries that read them write it."""

from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
_TYPES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_STRICT_TYPES = "http://purl.oclc.org/ooxml/officeDocument/relationships"
_SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_STRICT_SHEETS = "http://purl.oclc.org/ooxml/spreadsheetml/main"
_CONTENT = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def relationships(*rows: tuple[str, str, str], types: str = _TYPES) -> str:
    """Return a part of relationships from ids, kinds and targets. A target with ``://`` is external."""
    inner = "".join(
        f'<Relationship Id="{name}" Type="{types}/{kind}" Target="{target}" TargetMode="{_mode(target)}"/>'
        for name, kind, target in rows
    )
    return f'<Relationships xmlns="{_RELATIONSHIPS}">{inner}</Relationships>'


def _mode(target: str) -> str:
    return "External" if "://" in target else "Internal"


def package(parts: Mapping[str, str | bytes]) -> bytes:
    """Return an archive of the parts."""
    target = BytesIO()
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return target.getvalue()


def workbook(
    *sheets: str, strict: bool = False, parts: Mapping[str, str | bytes] | None = None, links: str = ""
) -> bytes:
    """Return a workbook.

    Args:
        sheets: the content of each ``worksheet`` element. The sheets are named S1, S2 and so on.
        strict: whether to use the names of the strict format.
        parts: further parts, or others in the place of these.
        links: the content of the workbook after its sheets.
    """
    main, types = (_STRICT_SHEETS, _STRICT_TYPES) if strict else (_SHEETS, _TYPES)
    numbers = range(1, len(sheets) + 1)
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_CONTENT}.worksheet+xml"/>' for n in numbers
    )
    content_types = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_CONTENT}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_CONTENT}.styles+xml"/>{overrides}</Types>'
    )
    listed = "".join(f'<sheet name="S{n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
    book = f'<workbook xmlns="{main}" xmlns:r="{types}"><sheets>{listed}</sheets>{links}</workbook>'
    related = [(f"rId{n}", "worksheet", f"worksheets/sheet{n}.xml") for n in numbers]
    return package(
        {
            "[Content_Types].xml": content_types,
            "_rels/.rels": relationships(("rId1", "officeDocument", "xl/workbook.xml"), types=types),
            "xl/workbook.xml": book,
            "xl/_rels/workbook.xml.rels": relationships(*related, ("rIdS", "styles", "styles.xml"), types=types),
            "xl/styles.xml": _STYLES.replace("MAIN", main),
            **{
                f"xl/worksheets/sheet{n}.xml": f'<worksheet xmlns="{main}">{sheet}</worksheet>'
                for n, sheet in zip(numbers, sheets, strict=True)
            },
            **(parts or {}),
        }
    )


_STYLES = """<styleSheet xmlns="MAIN"><numFmts count="1"><numFmt numFmtId="170" formatCode="[h]:mm:ss"/></numFmts>
<fonts count="1"><font/></fonts><fills count="1"><fill><patternFill patternType="none"/></fill></fills>
<borders count="1"><border/></borders><cellStyleXfs count="1"><xf numFmtId="0"/></cellStyleXfs>
<cellXfs count="4"><xf numFmtId="0"/><xf numFmtId="20" applyNumberFormat="1"/>
<xf numFmtId="14" applyNumberFormat="1"/><xf numFmtId="170" applyNumberFormat="1"/></cellXfs></styleSheet>"""
TIME_STYLE, DATE_STYLE, DURATION_STYLE = 1, 2, 3


def sheet_data(*rows: tuple[str | float | None, ...], first: int = 1) -> str:
    """Return the rows of a sheet, with inline texts and numbers."""
    return f"<sheetData>{''.join(_row(first + place, row) for place, row in enumerate(rows))}</sheetData>"


def _row(number: int, values: tuple[str | float | None, ...]) -> str:
    cells = (
        f'<c r="{chr(ord("A") + column)}{number}" t="inlineStr"><is><t>{value}</t></is></c>'
        if isinstance(value, str)
        else f'<c r="{chr(ord("A") + column)}{number}"><v>{value}</v></c>'
        for column, value in enumerate(values)
        if value is not None
    )
    return f'<row r="{number}">{"".join(cells)}</row>'
