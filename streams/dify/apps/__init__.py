"""Apps: their installation, their sites, the datasets that they use, and what the platform caches for them."""
