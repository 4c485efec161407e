"""Questions and answers that a chat model makes of a text."""
