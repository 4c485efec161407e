"""Finds the datasets that an app's configuration or workflow names. Both are JSON that an editor wrote."""

from collections.abc import Iterator

from streams.dify.ids import valid_ids
from streams.dify.models import AppModelConfig, Workflow
from streams.dify.models.json_text import read_object

RETRIEVAL_NODE = "knowledge-retrieval"
"""The type of the workflow nodes that search in datasets."""


def datasets_of_config(config: AppModelConfig) -> set[str]:
    """Return the ids of the datasets that an agent's tools name, and of those that the app searches."""
    searched = _at(read_object(config.dataset_configs), "datasets")
    named = [*_items(read_object(config.agent_mode), "tools"), *_items(searched, "datasets")]
    return _ids(_at(_at(one, "dataset"), "id") for one in named)


def datasets_of_workflow(workflow: Workflow) -> set[str]:
    """Return the ids of the datasets of all retrieval nodes. A node in another form is skipped."""
    nodes = (_at(node, "data") for node in _items(read_object(workflow.graph), "nodes"))
    return _ids(found for data in nodes if _at(data, "type") == RETRIEVAL_NODE for found in _items(data, "dataset_ids"))


def _at(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _items(value: object, name: str) -> list[object]:
    found = _at(value, name)
    return found if isinstance(found, list) else []


def _ids(values: Iterator[object]) -> set[str]:
    return set(valid_ids(value for value in values if isinstance(value, str)))
