"""Finds what a deployment lacks before the first event: database, Kafka, storage, Redis, vector store."""
