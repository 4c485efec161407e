"""Adapters through which Faust consumes and produces with librdkafka."""
