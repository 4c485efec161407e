"""The races of a changed index with the slower cases.

Expected: the same as in the modules that the tests come from.
"""

import pytest

from tests.integration.reindexing import test_dataset_index as datasets
from tests.integration.reindexing import test_document_state as documents
from tests.support.platform.reindexing import cases

place = datasets.place
small_groups = documents.small_groups
small_steps = datasets.small_steps

test_a_change_at_each_step_wins = documents.test_a_change_at_each_step_wins
test_a_crash_at_any_step = documents.test_a_crash_at_any_step
test_the_model_changes_during_an_indexing = datasets.test_the_model_changes_during_an_indexing


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with the other cases."""
    cases(
        metafunc,
        change=["document disabled", "document deleted", "segment deleted"],
        crashed=["keywords", "children"],
        another=["technique"],
    )
