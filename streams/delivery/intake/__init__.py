"""From a chunk of records to deliveries: what a record needs first is loaded, then it is decoded."""
