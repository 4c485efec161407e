"""Formats of marked-up pages: HTML, and EPUB, which is an archive of them."""
