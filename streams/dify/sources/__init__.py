"""Where the text of a document comes from: uploads, Notion, web pages."""
