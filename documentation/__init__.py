"""Builds the site of the documentation: its navigation, its links, and the hooks of MkDocs that use them."""
