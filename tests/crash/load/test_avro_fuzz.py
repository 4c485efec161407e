"""The codec's Avro reader and fastavro agree on a million inputs."""

import pytest

from tests.support.avro_values import compare

INPUTS = 1_000_000
SEEDS = (14, 1_414, 141_414)


@pytest.mark.requirement(
    "Faults of others", "H3, L6: the Avro reader against fastavro on 1,000,000 inputs, long ones too"
)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_reader_and_fastavro_agree_on_a_million_inputs(seed: int) -> None:
    """Read a third of a million valid, mutated, random and long values: no difference, and each in bounded time."""
    figures = compare(INPUTS // len(SEEDS) + 1, seed)
    assert figures.differences == []
    assert min(figures.read, figures.rejected) > INPUTS // 20
