"""Events of tenants, accounts, mails and plugins."""
