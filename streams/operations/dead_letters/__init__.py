"""Dead letters: listed from their index, read from Kafka, replayed to the handler that they died in."""
