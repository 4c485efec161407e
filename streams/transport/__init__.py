"""Kafka under Faust: polling, chunks, pausing, and the offsets that may be committed. Knows no event."""
