"""Consuming and producing with librdkafka: polling, pausing and offset commits. Knows no Faust and no event."""
