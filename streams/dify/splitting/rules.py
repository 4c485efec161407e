"""The rules for splitting a document: a row of dataset_process_rules, parsed into plain values."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from streams.dify.errors import RefusedError
from streams.dify.splitting.clean import CleaningStep

MODES = ("automatic", "custom", "hierarchical")
SMALLEST_PIECE = 50
LARGEST_PIECE = 4000
"""The default of the platform's INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH. It says tokens, but it counts characters."""

ParentMode = Literal["full-doc", "paragraph"]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """How to split a text: at most `size` characters per piece.

    If a piece is too long and is split further, `overlap` of its characters are repeated from the piece before.
    """

    size: int
    overlap: int
    separator: str | None = None
    """The separator of the first split; None: no separator of its own; empty: the text is one piece."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A process rule. `segmentation` creates the pieces, `children` the parts of a piece."""

    cleaning: tuple[CleaningStep, ...]
    segmentation: Segmentation | None
    parent_mode: ParentMode | None = None
    children: Segmentation | None = None


AUTOMATIC = Rules(cleaning=("remove_extra_spaces",), segmentation=Segmentation(size=500, overlap=50))


def rules_of(mode: str, text: str | None, largest: int = LARGEST_PIECE) -> Rules:
    """Parse the rules of a mode. `automatic` ignores the text.

    Args:
        mode: one of `MODES`.
        text: the JSON of the rules.
        largest: the largest number of characters of a piece that a rule may ask for.

    Raises:
        RefusedError: the mode is unknown, or the rules are not within the limits.
    """
    if mode not in MODES:
        message = f"the process rule {mode!r} is unknown; known modes: {', '.join(MODES)}"
        raise RefusedError(message)
    if mode == "automatic":
        return AUTOMATIC
    if not text:
        message = f"the process rule {mode!r} is empty: its column rules has no value"
        raise RefusedError(message)
    try:
        written = _Rules.model_validate_json(text)
    except ValidationError as error:
        raise RefusedError(_in_one_line(mode, error)) from error
    return Rules(
        cleaning=_cleaning(written.pre_processing_rules),
        segmentation=_segmentation("segmentation", written.segmentation, largest),
        parent_mode=written.parent_mode,
        children=_segmentation("subchunk_segmentation", written.subchunk_segmentation, largest),
    )


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Switch(_Written):
    id: Literal["remove_extra_spaces", "remove_urls_emails", "remove_stopwords"]
    enabled: bool


class _Segmentation(_Written):
    separator: str | None = None
    max_tokens: int
    chunk_overlap: int | None = None


class _Rules(_Written):
    pre_processing_rules: tuple[_Switch, ...] | None = None
    segmentation: _Segmentation | None = None
    parent_mode: ParentMode | None = None
    subchunk_segmentation: _Segmentation | None = None


def _cleaning(switches: tuple[_Switch, ...] | None) -> tuple[CleaningStep, ...]:
    """Return the enabled steps, in the order of the list, which is the order of execution.

    remove_stopwords may be listed and has no effect, as on the platform.
    """
    return tuple(switch.id for switch in switches or () if switch.enabled and switch.id != "remove_stopwords")


def _segmentation(name: str, written: _Segmentation | None, largest: int) -> Segmentation | None:
    if written is None:
        return None
    size, overlap = written.max_tokens, written.chunk_overlap or 0
    if not SMALLEST_PIECE <= size <= largest:
        message = (
            f"{name}: max_tokens is {size}; it must be from {SMALLEST_PIECE} to {largest}, which is "
            "STREAMS_INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH"
        )
        raise RefusedError(message)
    if not 0 <= overlap <= size:
        message = f"{name}: chunk_overlap is {overlap}; it must be from 0 to max_tokens, which is {size}"
        raise RefusedError(message)
    separator = "\n" if written.separator is None else written.separator
    return Segmentation(size, overlap, separator.replace("\\n", "\n"))


def _in_one_line(mode: str, error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "rules"
    return f"the process rule {mode!r} cannot be read: {place}: {first['msg']}"
