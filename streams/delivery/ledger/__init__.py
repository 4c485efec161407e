"""Every SQL statement on executions and leases."""
