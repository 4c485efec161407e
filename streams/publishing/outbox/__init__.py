"""The outbox: its rows, and the relay that sends them."""
