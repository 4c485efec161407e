"""The outbox table, and the relay that sends its rows to Kafka."""
