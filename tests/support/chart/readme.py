"""The README of the chart: its values with their defaults and meanings, from the comments in values.yaml."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

LONGEST_DEFAULT = 60
"""Characters of a default in the table; a longer one is only in values.yaml."""
HEAD = """\
# Helm chart of the event pipeline

Workers of each pool, the relay and the exporter; jobs before install and upgrade; scaling by lag with KEDA; topics as
resources of Strimzi; monitors, alerts and dashboards. `docs/how-to/deploy-kubernetes.md` explains how to use it.

```bash
helm install streams deploy/helm/event-streams --values my-values.yaml
helm test streams
```

A minimum:

```yaml
image:
  repository: registry.example/event-streams   # built from the Dockerfile, and pushed there
kafka:
  bootstrapServers: kafka:9092
storage:
  url: s3://events/files
secrets:
  existingSecret: streams   # with the key database-url
```

## Values

This table is generated from the comments in values.yaml (`python -m tests.support.chart.files`).
`values.schema.json` refuses other names and wrong types.

| value | default | meaning |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the chart: its path, such as `image.tag`, the comment above it, and its default."""

    path: tuple[str, ...]
    comment: str
    default: object

    @property
    def name(self) -> str:
        """The path as one writes it after --set."""
        return ".".join(self.path)


def values_of(text: str) -> list[Value]:
    """Return each value with a comment or without children, in the order of the file."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return list(_values(root, (), text.splitlines()))


def _values(mapping: yaml.MappingNode, path: tuple[str, ...], lines: list[str]) -> Iterator[Value]:
    for key, node in mapping.value:
        own = (*path, str(key.value))
        comment = _comment_above(key.start_mark.line, key.start_mark.column, lines)
        descends = isinstance(node, yaml.MappingNode) and _has_comments(node, lines)
        if not descends:
            yield Value(own, comment, _default(node))
            continue
        if comment and len(path) == 0 and own != ("pools",):
            yield Value(own, comment, None)
        assert isinstance(node, yaml.MappingNode)
        yield from _values(node, own, lines)


def _has_comments(mapping: yaml.MappingNode, lines: list[str]) -> bool:
    return not mapping.flow_style and any(
        _comment_above(key.start_mark.line, key.start_mark.column, lines)
        or (isinstance(node, yaml.MappingNode) and _has_comments(node, lines))
        for key, node in mapping.value
    )


def _comment_above(line: int, column: int, lines: list[str]) -> str:
    start = " " * column + "# "
    found: list[str] = []
    while line > 0 and lines[line - 1].startswith(start):
        line -= 1
        found.insert(0, lines[line][len(start) :])
    return " ".join(found)


def _default(node: yaml.Node) -> object:
    return yaml.safe_load(yaml.serialize(node))


def chart_readme(text: str) -> str:
    """Return the README for the text of values.yaml."""
    rows = []
    for value in values_of(text):
        shown = "" if value.default is None else json.dumps(value.default)
        default = f"`{shown}`" if 0 < len(shown) <= LONGEST_DEFAULT else ("see values.yaml" if shown else "")
        rows.append(f"| `{value.name}` | {default} | {value.comment} |\n")
    return HEAD + "".join(rows)
