"""Process rules: parsed from the platform's JSON, and checked against its limits."""

import json

import pytest

from streams.dify.errors import RefusedError
from streams.dify.splitting.rules import AUTOMATIC, Rules, Segmentation, rules_of


def _rules(**parts: object) -> str:
    return json.dumps({"segmentation": {"separator": "\\n", "max_tokens": 100}, **parts})


@pytest.mark.requirement("The work on the platform's tables", "the automatic process rule")
@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "automatic, custom and hierarchical rules are read into values",
)
def test_automatic_is_the_same_whatever_the_text_says() -> None:
    """At most 500, overlap 50, extra spaces removed, URLs kept."""
    expected = Rules(cleaning=("remove_extra_spaces",), segmentation=Segmentation(size=500, overlap=50))
    assert rules_of("automatic", None) == rules_of("automatic", _rules()) == AUTOMATIC == expected


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "automatic, custom and hierarchical rules are read into values",
)
def test_a_custom_rule() -> None:
    """A backslash and an n are a newline. Disabled steps and remove_stopwords have no effect."""
    text = _rules(
        pre_processing_rules=[
            {"id": "remove_urls_emails", "enabled": True},
            {"id": "remove_stopwords", "enabled": True},
            {"id": "remove_extra_spaces", "enabled": False},
        ],
        segmentation={"separator": "\\n\\n", "max_tokens": 1024, "chunk_overlap": 50},
    )
    assert rules_of("custom", text) == Rules(
        cleaning=("remove_urls_emails",), segmentation=Segmentation(1024, 50, "\n\n")
    )


def test_steps_keep_the_order_in_which_they_are_listed() -> None:
    steps = [{"id": "remove_urls_emails", "enabled": True}, {"id": "remove_extra_spaces", "enabled": True}]
    assert rules_of("custom", _rules(pre_processing_rules=steps)).cleaning == (
        "remove_urls_emails",
        "remove_extra_spaces",
    )


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "automatic, custom and hierarchical rules are read into values",
)
def test_a_hierarchical_rule() -> None:
    text = _rules(parent_mode="paragraph", subchunk_segmentation={"separator": ".", "max_tokens": 50})
    assert rules_of("hierarchical", text) == Rules(
        cleaning=(),
        segmentation=Segmentation(100, 0, "\n"),
        parent_mode="paragraph",
        children=Segmentation(50, 0, "."),
    )


def test_what_is_left_out_has_the_platforms_defaults() -> None:
    text = json.dumps({"segmentation": {"max_tokens": 60}})
    assert rules_of("custom", text) == Rules(cleaning=(), segmentation=Segmentation(60, 0, "\n"))
    nothing = json.dumps({"segmentation": {"max_tokens": 60, "separator": None, "chunk_overlap": None}})
    assert rules_of("custom", nothing) == rules_of("custom", text)


@pytest.mark.requirement("Clean, rules, split, forms", "the limits and their errors")
@pytest.mark.parametrize(("size", "overlap"), [(50, 0), (4000, 0), (4000, 4000), (50, 50)])
def test_the_limits_are_within(size: int, overlap: int) -> None:
    segmentation = rules_of("custom", _rules(segmentation={"max_tokens": size, "chunk_overlap": overlap})).segmentation
    assert segmentation == Segmentation(size, overlap, "\n")


@pytest.mark.requirement("Clean, rules, split, forms", "the limits and their errors")
def test_the_largest_piece_is_a_setting() -> None:
    """The message names it."""
    text = _rules(segmentation={"max_tokens": 8000})
    assert rules_of("custom", text, 8000).segmentation == Segmentation(8000, 0, "\n")
    with pytest.raises(RefusedError, match="from 50 to 4000, which is STREAMS_INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH"):
        rules_of("custom", text)


@pytest.mark.parametrize(
    ("mode", "text", "message"),
    [
        ("magic", "{}", "the process rule 'magic' is unknown; known modes: automatic, custom, hierarchical"),
        ("custom", None, "'custom' is empty: its column rules has no value"),
        ("custom", "", "'custom' is empty"),
        ("custom", "{", "'custom' cannot be read: rules: Invalid JSON"),
        ("custom", "[]", "'custom' cannot be read: rules: "),
        (
            "custom",
            _rules(segmentation={"max_tokens": 49}),
            "segmentation: max_tokens is 49; it must be from 50 to 4000",
        ),
        ("custom", _rules(segmentation={"max_tokens": 4001}), "segmentation: max_tokens is 4001"),
        (
            "custom",
            _rules(segmentation={"max_tokens": 60, "chunk_overlap": 61}),
            "segmentation: chunk_overlap is 61; it must be from 0 to max_tokens, which is 60",
        ),
        ("custom", _rules(segmentation={"max_tokens": 60, "chunk_overlap": -1}), "chunk_overlap is -1"),
        ("custom", _rules(segmentation={"separator": "\n"}), "segmentation.max_tokens: Field required"),
        (
            "custom",
            _rules(segmentation={"max_tokens": "many"}),
            "segmentation.max_tokens: Input should be a valid integer",
        ),
        ("custom", _rules(pre_processing_rules=[{"id": "shout", "enabled": True}]), "pre_processing_rules.0.id: "),
        ("hierarchical", _rules(subchunk_segmentation={"max_tokens": 7}), "subchunk_segmentation: max_tokens is 7"),
        ("hierarchical", _rules(parent_mode="chapter"), "parent_mode: Input should be 'full-doc' or 'paragraph'"),
    ],
)
def test_what_a_rule_may_not_say(mode: str, text: str | None, message: str) -> None:
    """The message names the place and the limit."""
    with pytest.raises(RefusedError) as refused:
        rules_of(mode, text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
