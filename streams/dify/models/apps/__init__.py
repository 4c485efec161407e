"""Apps and what belongs to them."""
