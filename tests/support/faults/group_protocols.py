"""Scenarios whose workers join their groups by each of Kafka's two protocols."""

import pytest

both_protocols = pytest.mark.parametrize("protocol", ["cooperative", "consumer"])
