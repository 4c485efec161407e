"""The configurations of deploy/logs against the lines of a real worker."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.pages import ROOT
from tests.support.processes.worker_process import WorkerProcess, publish, rows, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
FOLDER = ROOT / "deploy" / "logs"
OF_TRACES = {"trace_id"}
"""Fields that lines have where traces are exported."""


def loaded(name: str) -> Any:  # noqa: ANN401 - YAML
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def vector_fields() -> set[str]:
    """Return the fields that the transform and the sink name."""
    config = loaded("vector.yaml")
    program = config["transforms"]["streams_fields"]["source"]
    labels = config["sinks"]["loki"]["labels"].values()
    return {
        *re.findall(r"(?<![\w.])\.(\w+)", program),
        *(name for label in labels for name in re.findall(r"{{ (\w+) }}", label)),
    }


def fluent_bit_fields() -> set[str]:
    """Return the fields that the parser and the output name."""
    config = loaded("fluent-bit.yaml")
    output = config["pipeline"]["outputs"][0]
    return {
        config["parsers"][0]["time_key"],
        *re.findall(r"\$(\w+)", f"{output['labels']} {output['structured_metadata']}"),
    }


def alloy_fields() -> set[str]:
    """Return the fields that the stages name."""
    text = (FOLDER / "alloy.alloy").read_text(encoding="utf-8")
    expressions = re.search(r"expressions = {(.*?)}", text, re.DOTALL)
    assert expressions is not None
    taken = dict(re.findall(r'(\w+)\s*=\s*"(\w+)"', expressions[1]))
    used = {name for values in re.findall(r"values = {(.*?)}", text) for name in re.findall(r'(\w+) = ""', values)}
    source = re.findall(r'source = "(\w+)"', text)
    assert {*used, *source} <= taken.keys(), "a stage uses what stage.json does not take"
    return set(taken.values())


@pytest.mark.requirement("Logs", "configurations for Vector, Fluent Bit and Grafana Alloy name fields that lines have")
def test_each_field_of_the_configurations_is_in_the_lines_of_a_worker(
    worker: Callable[..., WorkerProcess], trial: Settings, engine: Engine
) -> None:
    """A delivery that dies has every field. Its timestamp has the form that each parser expects."""
    one = worker(STREAMS_POOLS="default").start()
    publish(trial, [SingleTrialRequested(entity="e", plan="permanent", tenant_id="t1")])
    wait_for(lambda: rows(engine, "select 1 from streams.dead_letters"), "the death")
    (line,) = wait_for(lambda: [line for line in one.lines() if line["message"] == "dead letter"], "its line")

    fields = {*vector_fields(), *fluent_bit_fields(), *alloy_fields()}
    assert {"timestamp", "level", "message", "trace_id", "event_id"} <= fields
    assert fields - line.keys() - OF_TRACES == set()
    stamp = str(line["timestamp"])
    time_format = loaded("fluent-bit.yaml")["parsers"][0]["time_format"].replace("%L", "%f")
    assert datetime.fromisoformat(stamp) == datetime.strptime(stamp, time_format).replace(tzinfo=UTC)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", stamp), "RFC 3339, for Vector and Alloy"
    assert one.stop() == 0


def test_the_configuration_of_alloy_is_whole() -> None:
    """No parser for its language is at hand: its brackets are closed, and what it refers to is there."""
    text = re.sub(r"//.*|\"[^\"]*\"", "", whole := (FOLDER / "alloy.alloy").read_text(encoding="utf-8"))
    for opened, closed in ("{}", "[]", "()"):
        assert text.count(opened) == text.count(closed)
    declared = {f"{kind}.{name}" for kind, name in re.findall(r'^([a-z._]+) "(\w+)" {', whole, re.MULTILINE)}
    used = re.findall(r"\b((?:local|loki)\.[a-z_.]+?)\.(?:targets|receiver)\b", whole)
    assert set(used) <= declared
    assert len(used) == 3


@pytest.mark.parametrize("name", ["vector.yaml", "fluent-bit.yaml"])
def test_each_step_reads_from_one_that_exists(name: str) -> None:
    config = loaded(name)
    if name == "vector.yaml":
        steps = {**config["sources"], **config["transforms"]}
        readers = [*config["transforms"].values(), *config["sinks"].values()]
        assert {source for reader in readers for source in reader["inputs"]} == steps.keys()
    else:
        (reader,), (output,) = config["pipeline"]["inputs"], config["pipeline"]["outputs"]
        assert reader["parser"] == config["parsers"][0]["name"]
        assert output["match"] == reader["tag"]


def test_fluent_bit_keeps_its_position_over_a_restart() -> None:
    """Vector and Alloy do so by themselves."""
    (reader,) = loaded("fluent-bit.yaml")["pipeline"]["inputs"]
    assert reader["db"].startswith("/var/lib/")
    assert reader["read_from_head"] is True


def test_vector_needs_no_variable_of_the_environment() -> None:
    """From version 0.57 on, Vector does not replace them: it would take the name for the address."""
    assert "$" not in (FOLDER / "vector.yaml").read_text(encoding="utf-8")
