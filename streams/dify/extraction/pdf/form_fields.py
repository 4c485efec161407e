"""Reads what stands on the pages of a PDF outside of their text: values of form fields, and typed notes (FreeText).

A page and its form are two layers. PDFium's text is the page's layer alone: of a filled form, only the questions.
"""

from collections.abc import Callable, Iterator
from ctypes import POINTER, byref, c_ushort, cast
from types import TracebackType
from typing import Self

import pypdfium2
import pypdfium2.raw as pdfium

_CHOICES = frozenset({pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX})
_BOXES = frozenset({pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON})
_UNSEEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD = 1 << 13
"""The flag of a text field that shows no characters (ISO 32000, table 228)."""
_MAX_OPTIONS = 1000
"""Options of a list that are looked at. A list that is longer gives its value as it is stored."""
MAX_ANNOTATIONS = 2_000
"""Of a page: PDFium's time for a page grows with the square of them."""
MAX_READ = 20_000
"""Annotations of a document: many pages may name the same ones."""


class FormFields:
    """The form of an open document. It has to be closed before the document."""

    def __init__(self, document: pypdfium2.PdfDocument) -> None:
        self.kind = int(document.get_formtype())
        """As PDFium names it, such as `FORMTYPE_XFA_FULL`."""
        self.whole = True
        """Whether all annotations of the pages so far have been looked at."""
        self._left = MAX_READ
        # PDFium keeps a pointer to these settings as long as the form is open.
        self._settings = pdfium.FPDF_FORMFILLINFO(version=2)
        self._form = (
            pdfium.FPDFDOC_InitFormFillEnvironment(document.raw, byref(self._settings))
            if self.kind != pdfium.FORMTYPE_NONE
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the form."""
        if self._form:
            pdfium.FPDFDOC_ExitFormFillEnvironment(self._form)
            self._form = None

    def lines(self, page: pypdfium2.PdfPage) -> list[str]:
        """Return a line ``name: value`` for each field with a value, and the texts of typed notes, each once.

        The name of a field is the one that it shows to its reader, else the last part of its technical name. A page
        with too many annotations has none.
        """
        count = pdfium.FPDFPage_GetAnnotCount(page)
        if not count:
            return []
        if count > min(MAX_ANNOTATIONS, self._left):
            self.whole = False
            return []
        self._left -= count
        if not self._form:
            return self._found(page, count)
        # Without these calls, PDFium does not know which boxes are checked.
        pdfium.FORM_OnAfterLoadPage(page, self._form)
        try:
            return self._found(page, count)
        finally:
            pdfium.FORM_OnBeforeClosePage(page, self._form)

    def _found(self, page: pypdfium2.PdfPage, count: int) -> list[str]:
        found: dict[str, None] = {}
        for index in range(count):
            annotation = pdfium.FPDFPage_GetAnnot(page, index)
            if annotation:
                try:
                    found.update(dict.fromkeys(self._lines(annotation)))
                finally:
                    pdfium.FPDFPage_CloseAnnot(annotation)
        return list(found)

    def _lines(self, annotation: object) -> Iterator[str]:
        if pdfium.FPDFAnnot_GetFlags(annotation) & _UNSEEN:
            return
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        if kind == pdfium.FPDF_ANNOT_FREETEXT:
            yield from filter(None, [_text(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents")])
        elif kind == pdfium.FPDF_ANNOT_WIDGET and self._form and (value := self._value(annotation)):
            name = _text(pdfium.FPDFAnnot_GetFormFieldAlternateName, self._form, annotation)
            technical = _text(pdfium.FPDFAnnot_GetFormFieldName, self._form, annotation)
            name = name or technical.rpartition(".")[2].partition("[")[0]
            yield f"{name}: {value}" if name else value

    def _value(self, annotation: object) -> str:
        """Return what a field shows; empty: it shows nothing, or is a button or a signature."""
        kind = pdfium.FPDFAnnot_GetFormFieldType(self._form, annotation)
        if kind in _BOXES:
            if not pdfium.FPDFAnnot_IsChecked(self._form, annotation):
                return ""
            return _text(pdfium.FPDFAnnot_GetFormFieldExportValue, self._form, annotation) or "Yes"
        if kind in _CHOICES and (chosen := self._chosen(annotation)):
            return chosen
        if kind != pdfium.FPDF_FORMFIELD_TEXTFIELD and kind not in _CHOICES:
            return ""
        if pdfium.FPDFAnnot_GetFormFieldFlags(self._form, annotation) & _PASSWORD:
            return ""
        return _text(pdfium.FPDFAnnot_GetFormFieldValue, self._form, annotation)

    def _chosen(self, annotation: object) -> str:
        """Return the labels of the options that are chosen. The stored value may be a code."""
        count = pdfium.FPDFAnnot_GetOptionCount(self._form, annotation)
        chosen = (
            _text(pdfium.FPDFAnnot_GetOptionLabel, self._form, annotation, option)
            for option in range(count if count <= _MAX_OPTIONS else 0)
            if pdfium.FPDFAnnot_IsOptionSelected(self._form, annotation, option)
        )
        return ", ".join(filter(None, chosen))


def _text(function: Callable[..., int], *arguments: object) -> str:
    """Return the text that a function of PDFium writes into a buffer of two bytes per character."""
    size = function(*arguments, None, 0)
    if size <= 2:  # noqa: PLR2004 - the character that ends the text
        return ""
    buffer = (c_ushort * (size // 2))()
    function(*arguments, cast(buffer, POINTER(pdfium.FPDF_WCHAR)), size)
    text = bytes(buffer).decode("utf-16-le", "replace").rstrip("\x00")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
