"""Conversations, their messages, and what belongs to a message."""
