"""What the Office Open XML formats (docx, xlsx, pptx) have in common."""
