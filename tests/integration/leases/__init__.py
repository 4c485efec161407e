"""Leases of long deliveries, and the sweep of expired ones."""
