"""Reads Word (docx): the body of the document as Markdown, in the platform's form."""
