"""The indexing races with documents of an economy dataset, with child chunks, and with images.

Expected: the same as in the module that the tests come from.
"""

import pytest

from tests.integration.indexing import test_indexing_races as races
from tests.support.platform.indexing_snapshots import of_each_kind

site = races.site
small_groups = races.small_groups

test_a_document_is_deleted_at_each_step = races.test_a_document_is_deleted_at_each_step
test_the_dataset_is_deleted_after_each_step = races.test_the_dataset_is_deleted_after_each_step
test_a_pause_after_each_step = races.test_a_pause_after_each_step
test_a_newer_request_at_each_step = races.test_a_newer_request_at_each_step
test_a_worker_is_killed_at_and_after_each_step = races.test_a_worker_is_killed_at_and_after_each_step
test_indexed_anew_something_is_found_at_every_moment = races.test_indexed_anew_something_is_found_at_every_moment
test_the_vector_store_is_gone_at_each_call = races.test_the_vector_store_is_gone_at_each_call


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with the slower kinds of documents."""
    of_each_kind(metafunc, "keywords", "children", "images")
