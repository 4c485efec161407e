"""E-mail (eml): its headers, its text, and the messages that it encloses."""
