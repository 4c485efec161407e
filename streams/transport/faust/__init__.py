"""Adapters by which Faust consumes and produces with librdkafka."""
