"""Runs a test with each of Kafka's two group protocols."""

import pytest

both_protocols = pytest.mark.parametrize("protocol", ["cooperative", "consumer"])
