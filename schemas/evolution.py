"""The evolution gate: whether an event may change like this, field by field, and if not, what to do instead. Pure.

Two directions. Backward: today's consumers read the records of a version before. Forward: consumers of a version before
read today's records. What Avro decides is in `resolution`; what the class decides beyond it, such as the texts of a
`Literal` or the bound of a number, is compared here, by the keywords of JSON Schema.
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
"""A schema registry's names: which directions hold, to the version before or (transitive) to each one before."""
COMPATIBILITIES: tuple[Compatibility, ...] = get_args(Compatibility)

Allowed = Mapping[str, Mapping[str, object]]
"""Field → what its class allows, where that is less than Avro's type: `{"unit": {"enum": ["tokens", "times"]}}`."""
_UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})


@dataclass(frozen=True)
class Version:
    """One version of an event, as it is committed or as its class is now."""

    number: int
    schema: Mapping[str, object]
    allowed: Allowed | None = None
    """None: was not noted when the version was made, and is not compared."""

    def __str__(self) -> str:
        return f"v{self.number}"

    @cached_property
    def type(self) -> AvroType:
        """The schema's type. Raises BadSchemaError."""
        return parse(self.schema)

    @cached_property
    def paths(self) -> frozenset[str]:
        """Every field that a record can have."""
        return frozenset(self.type.paths())


@dataclass(frozen=True, slots=True)
class Break:
    """A change after which a version before is no longer understood, or does not understand."""

    new: Version
    old: Version
    field: str
    """As `quota.limit`; empty: the event itself."""
    what: str
    fix: str

    def __str__(self) -> str:
        named = f'field "{self.field}" ' if self.field else ""
        return f"{self.new}: {named}{self.what}: {self.fix}"


def breaks(newest: Version, earlier: Sequence[Version], mode: Compatibility) -> list[Break]:
    """Where the newest version breaks what its mode promises: the version before first, a field once a version."""
    if mode == "NONE":
        return []
    before = sorted(earlier, key=lambda version: version.number, reverse=True)
    if not mode.endswith("_TRANSITIVE"):
        before = before[:1]
    return [found for old in before for found in _between(newest, old, mode.removesuffix("_TRANSITIVE"))]


def _between(new: Version, old: Version, direction: str) -> Iterator[Break]:
    gone = [] if direction == "BACKWARD" else mismatches(new.type, old.type)
    unread = [] if direction == "FORWARD" else mismatches(old.type, new.type)
    found = [
        *_renamed(new, old, unread, gone),
        *(_backward(new, old, one) for one in unread),
        *(_forward(new, old, one) for one in gone),
        *_by_class(new, old, direction),
    ]
    told: set[str] = set()
    for one in found:
        if one.field not in told:
            told.add(one.field)
            told.update(_both_names(one))
            yield one


def _renamed(new: Version, old: Version, unread: Sequence[Mismatch], gone: Sequence[Mismatch]) -> Iterator[Break]:
    """One field went and one of its type came in the same record, both needed: most likely that was a renaming."""
    came = [one for one in unread if one.obstacle == "missing"]
    went = [one for one in gone if one.obstacle == "missing"]
    if len(came) == len(went) == 1 and _record_of(came[0]) == _record_of(went[0]) and came[0].wanted == went[0].wanted:
        what = f'was renamed to "{came[0].place}", which to Avro is one field less and one more'
        fix = f'keep "{went[0].place}", and add "{came[0].place}" with a default if both are wanted'
        yield Break(new, old, went[0].place, what, fix)


def _record_of(mismatch: Mismatch) -> str:
    return mismatch.place.rpartition(".")[0]


def _both_names(found: Break) -> Iterable[str]:
    """Of a renaming the new name too: it is told."""
    return [found.what.split('"')[1]] if found.what.startswith("was renamed") else []


def _backward(new: Version, old: Version, found: Mismatch) -> Break:
    """Today's consumers and the records of a version before."""
    match found.obstacle:
        case "missing":
            what, fix = f"is new and has no default, and records of {old} lack it", "give it a default"
        case "symbols":
            what, fix = f"no longer takes {found.written}, which records of {old} may have", "keep what it takes"
        case "name":
            what, fix = f"is {found.wanted} now and was {found.written} in {old}", "keep the name of the class"
        case _:
            what = f"is {found.wanted} now and was {found.written} in {old}, whose records cannot be read so"
            fix = f"keep {found.written}, or add another field with a default"
    return Break(new, old, found.place, what, fix)


def _forward(new: Version, old: Version, found: Mismatch) -> Break:
    """Consumers of a version before and today's records."""
    match found.obstacle:
        case "missing":
            what, fix = f"was removed, and consumers of {old} need it, for it has no default there", "keep it"
        case "symbols":
            what = f"takes {found.written} now, which consumers of {old} do not know"
            fix = "keep what it takes, or add another field with a default"
        case "name":
            what, fix = f"is {found.written} now and was {found.wanted} in {old}", "keep the name of the class"
        case _:
            what = f"is {found.written} now and was {found.wanted} in {old}, whose consumers cannot read that"
            fix = f"keep {found.wanted}, or add another field with a default"
    return Break(new, old, found.place, what, fix)


def _by_class(new: Version, old: Version, direction: str) -> Iterator[Break]:
    """What Pydantic refuses though Avro reads it: compared for the fields that both versions have."""
    if new.allowed is None or old.allowed is None:
        return
    for field in sorted((set(new.allowed) | set(old.allowed)) & new.paths & old.paths):
        now, then = new.allowed.get(field, {}), old.allowed.get(field, {})
        for keyword in sorted(set(now) | set(then)):
            narrower, wider = _compared(keyword, then.get(keyword), now.get(keyword))
            if narrower and direction != "FORWARD":
                what = f"takes less than in {old}, whose records may have more ({narrower})"
                yield Break(new, old, field, what, "keep what it takes, and check in the handler")
            if wider and direction != "BACKWARD":
                what = f"takes more than in {old}, whose consumers refuse that ({wider})"
                yield Break(new, old, field, what, "keep what it takes, or add another field with a default")


def _compared(keyword: str, then: object, now: object) -> tuple[str, str]:
    """What a keyword lets through no more, and what it lets through newly, in words; empty: nothing."""
    if then == now:
        return "", ""
    if keyword == "enum" and isinstance(then, list) and isinstance(now, list):
        gone, came = ([one for one in a if one not in b] for a, b in ((then, now), (now, then)))
        return _listed(gone), _listed(came)
    told = f"{keyword} {_plain(then)} → {_plain(now)}"
    if then is None:
        return told, ""
    if now is None:
        return "", told
    if isinstance(then, int | float) and isinstance(now, int | float) and keyword in _UPPER | _LOWER:
        lower: Callable[[float, float], bool] = (lambda a, b: a < b) if keyword in _UPPER else (lambda a, b: a > b)
        return (told, "") if lower(now, then) else ("", told)
    return told, told


def _listed(values: Sequence[object]) -> str:
    return ", ".join(repr(value) for value in values)


def _plain(value: object) -> str:
    return "none" if value is None else str(value)
