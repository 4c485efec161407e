"""Upload files and the images of documents."""
