"""Dead letters: list them from their index, read them from Kafka, replay them to their handler."""
