"""The sources of documents: uploads, Notion, web pages."""
