"""Consuming and producing with librdkafka: polling, pausing, offsets. Knows no Faust and no event."""
