"""The steps in which a document is indexed."""
