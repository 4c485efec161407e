"""How an attempt that did not succeed ends: the decision, the record, the ledger row."""
