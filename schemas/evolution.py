"""The evolution gate: checks whether an event may change in this way, field by field, and proposes a fix. No I/O.

There are two directions. Backward: current consumers read the records of an earlier version. Forward: consumers of an
earlier version read current records. `resolution` has the rules of Avro. This module compares what the class allows
beyond Avro, such as the texts of a `Literal` or the bound of a number, by the keywords of JSON Schema.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from schemas.avro_type import AvroType, parse
from schemas.resolution import Mismatch, mismatches

Compatibility = Literal[
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"
]
"""A schema registry's names of the directions, for the previous version or (transitive) all earlier ones."""
COMPATIBILITIES: tuple[Compatibility, ...] = get_args(Compatibility)

Allowed = Mapping[str, Mapping[str, object]]
"""Field → what its class allows, if that is less than its Avro type: `{"unit": {"enum": ["tokens", "times"]}}`."""
_UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})


@dataclass(frozen=True)
class Version:
    """One version of an event: a committed one, or the current class."""

    number: int
    schema: Mapping[str, object]
    allowed: Allowed | None = None
    """None: unknown for this version, and not compared."""

    def __str__(self) -> str:
        return f"v{self.number}"

    @cached_property
    def type(self) -> AvroType:
        """Return the parsed schema. Raises BadSchemaError."""
        return parse(self.schema)

    @cached_property
    def paths(self) -> frozenset[str]:
        """Return the paths of all fields of a record."""
        return frozenset(self.type.paths())


@dataclass(frozen=True, slots=True)
class BreakingChange:
    """A change that prevents two versions from reading each other's records."""

    new: Version
    old: Version
    field: str
    """For example `quota.limit`; empty: the event itself."""
    what: str
    fix: str

    def __str__(self) -> str:
        named = f'field "{self.field}" ' if self.field else ""
        return f"{self.new}: {named}{self.what}: {self.fix}"


def breaking_changes(newest: Version, earlier: Sequence[Version], mode: Compatibility) -> list[BreakingChange]:
    """Return the changes of the newest version that its mode does not allow.

    Each field is returned once. The previous version comes first.
    """
    if mode == "NONE":
        return []
    before = sorted(earlier, key=lambda version: version.number, reverse=True)
    if not mode.endswith("_TRANSITIVE"):
        before = before[:1]
    return [found for old in before for found in _between(newest, old, mode.removesuffix("_TRANSITIVE"))]


def _between(new: Version, old: Version, direction: str) -> Iterator[BreakingChange]:
    forward = [] if direction == "BACKWARD" else mismatches(new.type, old.type)
    backward = [] if direction == "FORWARD" else mismatches(old.type, new.type)
    found = [
        *_renamed(new, old, backward, forward),
        *(_backward(new, old, one) for one in backward),
        *(_forward(new, old, one) for one in forward),
        *_by_class(new, old, direction),
    ]
    reported: set[str] = set()
    for one in found:
        if one.field not in reported:
            reported.add(one.field)
            reported.update(_both_names(one))
            yield one


def _renamed(
    new: Version, old: Version, backward: Sequence[Mismatch], forward: Sequence[Mismatch]
) -> Iterator[BreakingChange]:
    """Detect a renamed field: one required field was removed and one of the same type was added in the same record."""
    added = [one for one in backward if one.obstacle == "missing"]
    removed = [one for one in forward if one.obstacle == "missing"]
    if (
        len(added) == len(removed) == 1
        and _record_of(added[0]) == _record_of(removed[0])
        and added[0].wanted == removed[0].wanted
    ):
        what = f'was renamed to "{added[0].place}", which for Avro is one removed field and one added field'
        fix = f'keep "{removed[0].place}", and add "{added[0].place}" with a default if both are wanted'
        yield BreakingChange(new, old, removed[0].place, what, fix)


def _record_of(mismatch: Mismatch) -> str:
    return mismatch.place.rpartition(".")[0]


def _both_names(found: BreakingChange) -> Iterable[str]:
    """Return the new name of a renamed field, which is reported too."""
    return [found.what.split('"')[1]] if found.what.startswith("was renamed") else []


def _backward(new: Version, old: Version, found: Mismatch) -> BreakingChange:
    """Compare current consumers with the records of an earlier version."""
    match found.obstacle:
        case "missing":
            what, fix = f"is new and has no default, and records of {old} do not have it", "give it a default"
        case "symbols":
            what, fix = f"no longer accepts {found.written}, which records of {old} may have", "keep what it accepts"
        case "name":
            what, fix = f"is {found.wanted} now and was {found.written} in {old}", "keep the name of the class"
        case _:
            what = f"is {found.wanted} now and was {found.written} in {old}, whose records cannot be read as that"
            fix = f"keep {found.written}, or add another field with a default"
    return BreakingChange(new, old, found.place, what, fix)


def _forward(new: Version, old: Version, found: Mismatch) -> BreakingChange:
    """Compare consumers of an earlier version with current records."""
    match found.obstacle:
        case "missing":
            what, fix = f"was removed, and consumers of {old} need it, because it has no default there", "keep it"
        case "symbols":
            what = f"accepts {found.written} now, which consumers of {old} do not know"
            fix = "keep what it accepts, or add another field with a default"
        case "name":
            what, fix = f"is {found.written} now and was {found.wanted} in {old}", "keep the name of the class"
        case _:
            what = f"is {found.written} now and was {found.wanted} in {old}, whose consumers cannot read that"
            fix = f"keep {found.wanted}, or add another field with a default"
    return BreakingChange(new, old, found.place, what, fix)


def _by_class(new: Version, old: Version, direction: str) -> Iterator[BreakingChange]:
    """Compare what Pydantic rejects although Avro reads it, for the fields that both versions have."""
    if new.allowed is None or old.allowed is None:
        return
    for field in sorted((set(new.allowed) | set(old.allowed)) & new.paths & old.paths):
        now, then = new.allowed.get(field, {}), old.allowed.get(field, {})
        for keyword in sorted(set(now) | set(then)):
            narrower, wider = _compared(keyword, then.get(keyword), now.get(keyword))
            if narrower and direction != "FORWARD":
                what = f"accepts less than in {old}, whose records may have more ({narrower})"
                yield BreakingChange(new, old, field, what, "keep what it accepts, and check in the handler")
            if wider and direction != "BACKWARD":
                what = f"accepts more than in {old}, whose consumers reject that ({wider})"
                yield BreakingChange(new, old, field, what, "keep what it accepts, or add another field with a default")


def _compared(keyword: str, then: object, now: object) -> tuple[str, str]:
    """Return what a keyword no longer allows, and what it newly allows, in words; empty: nothing."""
    if then == now:
        return "", ""
    if keyword == "enum" and isinstance(then, list) and isinstance(now, list):
        removed, added = ([one for one in a if one not in b] for a, b in ((then, now), (now, then)))
        return _listed(removed), _listed(added)
    change = f"{keyword} {_plain(then)} → {_plain(now)}"
    if then is None:
        return change, ""
    if now is None:
        return "", change
    if isinstance(then, int | float) and isinstance(now, int | float) and keyword in _UPPER | _LOWER:
        lower: Callable[[float, float], bool] = (lambda a, b: a < b) if keyword in _UPPER else (lambda a, b: a > b)
        return (change, "") if lower(now, then) else ("", change)
    return change, change


def _listed(values: Sequence[object]) -> str:
    return ", ".join(repr(value) for value in values)


def _plain(value: object) -> str:
    return "none" if value is None else str(value)
