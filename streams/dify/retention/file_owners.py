"""Groups rows for their deletion: those with files by tenant, since a file is deleted only for its own tenant."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def by_file_owner(
    owners: Mapping[str, str | None], with_files: Collection[str | None]
) -> Mapping[str | None, list[str]]:
    """Return the ids by the tenant whose files may be deleted with them. None: those without files, together.

    Rows without files are most of them. So the number of statements does not grow with the number of tenants.

    Args:
        owners: the tenant of each row. None: unknown.
        with_files: the ids of the rows that have files.
    """
    groups = defaultdict[str | None, list[str]](list)
    for row_id, tenant_id in owners.items():
        groups[tenant_id if row_id in with_files else None].append(row_id)
    return groups


def pieces(rows: Mapping[str, T], size: int) -> Iterator[dict[str, T]]:
    """Yield the rows in parts of this size, in their order."""
    left = iter(rows.items())
    while some := dict(islice(left, size)):
        yield some
