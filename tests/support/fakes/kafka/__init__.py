"""Kafka as librdkafka shows it, with parts that cannot be read: a real broker has these faults for moments only."""
