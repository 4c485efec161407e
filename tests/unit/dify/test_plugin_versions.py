"""Which versions of a plugin replace which."""

import pytest

from streams.dify.plugins.versions import may_upgrade, parse_version

SECTION = "The whole domain"


@pytest.mark.requirement(SECTION, "plugin.upgrade-check-requested: versions compare as integers, never a downgrade")
@pytest.mark.parametrize(
    ("current", "latest", "fix_only", "newest"),
    [
        ("1.2.9", "1.2.10", True, True),
        ("1.2.10", "1.2.9", False, False),
        ("1.2.3", "1.2.3", False, False),
        ("1.2.3", "1.3.0", False, True),
        ("1.10.0", "1.9.9", False, False),
        ("1.2.3", "2.2.4", False, True),
        ("2.0.0", "1.9.9", False, False),
        ("01.2.3", "1.2.4", True, True),
        ("1.2.3-beta", "1.2.3", True, True),
        ("1.2.3", "1.2.3-beta", False, False),
        ("1.2.3-alpha", "1.2.3-beta", False, False),
    ],
)
def test_only_higher_versions_replace(current: str, latest: str, *, fix_only: bool, newest: bool) -> None:
    """fix_only: a higher patch of the same major and minor version. latest: any higher version."""
    before, after = parse_version(current), parse_version(latest)
    assert before is not None
    assert after is not None
    assert may_upgrade("fix_only", before, after) is fix_only
    assert may_upgrade("latest", before, after) is newest
    assert not may_upgrade("disabled", before, after)


@pytest.mark.parametrize(
    "text", ["", "1.2", "1.2.3.4", "v1.2.3", "1.2.x", "1.2.-3", "1.2.3\n", "٣.1.1", "1" * 10 + ".0.0"]
)
def test_other_texts_are_not_compared(text: str) -> None:
    assert parse_version(text) is None
