"""Questions and answers that a chat model writes about a text."""
