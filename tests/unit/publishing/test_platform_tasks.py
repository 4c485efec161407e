"""The replaced Celery tasks: their names and signatures."""

import inspect
from decimal import Decimal
from pathlib import Path

import pytest

from streams.publishing import BridgeError
from streams.publishing.bridges.json_values import json_value
from streams.publishing.bridges.platform_tasks import TASKS
from tests.support.celery_calls import CALLS
from tests.support.celery_calls.call import Call
from tests.support.celery_calls.live_values import MetadataKey, Segment, Status

LATER_PARAMETERS = {"pipeline_id": "since Dify 1.12"}
MORE_DEFAULTS = {"retry_document_indexing_task": "user_id", "send_inner_email_task": "substitutions"}
"""Parameters that the platform requires and the work does not."""


def signature(name: str, parameters: inspect.Signature) -> str:
    found = " ".join(
        parameter.name + "?" * (parameter.default is not inspect.Parameter.empty)
        for parameter in parameters.parameters.values()
        if parameter.name not in LATER_PARAMETERS
    )
    return found.removesuffix("?") if name in MORE_DEFAULTS else found


@pytest.mark.requirement(
    "Bridges",
    "an object with `.delay` and `.apply_async` for each replaced task name that publishes the event",
)
@pytest.mark.requirement(
    "Bridges",
    "arguments bind as the task's own; options that would not be honoured are refused",
)
def test_the_tasks_have_the_names_and_the_signatures_of_the_platform() -> None:
    """A parameter with a default ends with `?`."""
    found = {task.name: signature(task.short_name, inspect.signature(task.to_event)) for task in TASKS}
    assert found == {f"tasks.{call.name}": call.parameters for call in CALLS}
    assert len(found) == len(TASKS) == 52


@pytest.mark.requirement("The whole domain", "live Python values become fields without the platform's classes")
def test_live_values_become_values_that_json_has() -> None:
    live = {
        MetadataKey.TOTAL_PRICE: Decimal("0.5"),
        1: Status.SUCCEEDED,
        None: b"text",
        "list": [b"\xff", Segment(value_type="array", value=[Segment(value_type="string", value="v")])],
    }
    assert json_value(live) == {"total_price": 0.5, 1: "succeeded", None: "text", "list": ["/w==", ["v"]]}


@pytest.mark.requirement("The whole domain", "live Python values become fields without the platform's classes")
@pytest.mark.parametrize("value", [object(), Path(), Status, {"a": [object]}])
def test_a_value_that_json_does_not_have_is_one_clear_line(value: object) -> None:
    with pytest.raises(BridgeError, match=r"^JSON has no (object|PosixPath|EnumType|type)$"):
        json_value(value)


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("save_workflow_node_execution_task", ([], "t", "a", "x", "u", "r"), "execution_data is a list, not an object"),
        ("process_trace_tasks", ("f",), "file_info is a str, not an object with fields"),
        ("batch_import_annotations_task", ("j", ["row"], "a", "t", "u"), r"content_list\[\] is a str"),
        ("send_inner_email_task", ("a@example.com", "s", "b", ["x"]), "substitutions is a list"),
    ],
)
def test_an_argument_of_another_kind_is_one_clear_line(name: str, arguments: tuple[object, ...], error: str) -> None:
    (task,) = [task for task in TASKS if task.short_name == name]
    with pytest.raises(BridgeError, match=f"^{error}"):
        task.to_event(*arguments)


def test_a_value_that_contains_itself_is_one_clear_line() -> None:
    own: list[object] = []
    own.append(own)
    with pytest.raises(BridgeError, match="nested too deeply, or contains itself"):
        json_value(own)


@pytest.mark.requirement(
    "The whole domain", "a call of a task may leave defaults out, and one with more arguments is refused as by Celery"
)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call_has_what_the_signature_requires_and_nothing_more(call: Call) -> None:
    (task,) = [task for task in TASKS if task.name == f"tasks.{call.name}"]
    names = call.parameters.split()
    required = len([name for name in names if not name.endswith("?")])
    values = [json_value(value) for value in call.values]
    assert task.to_event(*values[:required])
    everything = len(inspect.signature(task.to_event).parameters)
    for wrong, named in (
        (values[: required - 1], {}),
        ([*values, *([None] * (everything - len(values) + 1))], {}),
        (values, {"later": 1}),
        (values, {names[0].removesuffix("?"): values[0]}),
    ):
        if call.name.rpartition(".")[2] in MORE_DEFAULTS and wrong == values[: required - 1]:
            continue
        with pytest.raises(TypeError):
            task.to_event(*wrong, **named)
