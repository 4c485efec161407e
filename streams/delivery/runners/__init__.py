"""How each kind of handler runs: in one transaction, or under a lease."""
