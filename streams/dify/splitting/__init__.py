"""How a text becomes segments."""
