"""Reads PDF by PDFium, the library that Chrome shows PDF with."""
