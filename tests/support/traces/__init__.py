"""Traces as the platform records them, and the key that decrypts their providers' secrets."""
