"""The one check that keeps tenants apart, as a function of what is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.errors import ForeignTenantError, RefusedError
from streams.dify.tenancy import in_own_folder, of_event, one_tenant

A, B = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
OWNERS = st.lists(st.tuples(st.sampled_from(["the event", "the document", "the file"]), st.sampled_from([A, B, None])))


@given(OWNERS)
def test_all_that_say_it_must_say_the_same(owners: list[tuple[str, str | None]]) -> None:
    """One tenant, none, or a refusal if two differ, in whatever order they are named."""
    known = {tenant for _, tenant in owners} - {None}
    if len(known) > 1:
        with pytest.raises(ForeignTenantError, match="belongs to another tenant than"):
            one_tenant(*owners)
    else:
        assert one_tenant(*owners) == next(iter(known), None)


def test_the_tenant_of_an_event_has_the_database_s_spelling() -> None:
    """Otherwise the same tenant would be another one."""
    assert one_tenant(of_event(A.upper()), ("the dataset", A)) == A
    assert of_event(None) == of_event("") == ("the event", None)
    with pytest.raises(RefusedError, match="tenant_id 'acme' is not a UUID"):
        of_event("acme")


@pytest.mark.parametrize(
    ("key", "own"),
    [
        (f"upload_files/{A}/x.txt", True),
        (f"upload_files/{A.upper()}/x.txt", True),
        ("upload_files/x.txt", True),
        ("x.txt", True),
        ("upload_files//x.txt", True),
        ("tools/images/x.txt", True),
        (f"upload_files/{B}/x.txt", False),
        (f"image_files/{B}/x/y.png", False),
    ],
)
def test_the_folder_of_a_key_says_whose_it_is(key: str, own: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A folder that is no tenant's says nothing."""
    assert in_own_folder(key, A) is own
