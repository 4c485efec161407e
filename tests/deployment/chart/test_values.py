"""Wrong values are refused with a clear message, and every value is explained."""

from typing import Any

import helm_python
import pytest
import yaml

from streams.settings import Settings
from tests.support.chart.files import CHART
from tests.support.chart.readme import values_of
from tests.support.chart.render import merged, read_values, render
from tests.support.chart.values_schema import FROM_OTHER_VALUES, LIMITS, VALUES, WITHOUT_MEANING

SECTION = "Kubernetes"

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown name": ({"image": {"tagg": "1"}}, "additional properties 'tagg' not allowed"),
    "text for a number": ({"pools": {"high": {"replicas": "two"}}}, "/pools/high/replicas': got string, want integer"),
    "negative": ({"poolDefaults": {"replicas": -1}}, "/poolDefaults/replicas': minimum: got -1, want 0"),
    "unknown pool": ({"pools": {"urgent": {}}}, "additional properties 'urgent' not allowed"),
    "misspelt setting": ({"settings": {"STREAMS_LOG_LEVL": "info"}}, "'STREAMS_LOG_LEVL' not allowed"),
    "setting of another value": (
        {"settings": {"STREAMS_POOLS": "low"}},
        "settings.STREAMS_POOLS: set pools.NAME.enabled",
    ),
    "secret in the open": (
        {"settings": {"STREAMS_DATABASE_URL": "x"}},
        "settings.STREAMS_DATABASE_URL: set secrets.keys",
    ),
    "setting of a port": (
        {"pools": {"low": {"settings": {"STREAMS_WEB_PORT": 1}}}},
        "pools.low.settings.STREAMS_WEB_PORT:",
    ),
    "variable twice": (
        {"extraEnv": [{"name": "STREAMS_DATABASE_URL", "value": "x"}]},
        "extraEnv: STREAMS_DATABASE_URL would be there twice: set secrets.keys in its place",
    ),
    "variable of the chart": (
        {"pools": {"low": {"extraEnv": [{"name": "STREAMS_POOLS", "value": "high"}]}}},
        "pools.low.extraEnv: STREAMS_POOLS would be there twice",
    ),
    "number in a variable": ({"extraEnv": [{"name": "A", "value": 1}]}, "/extraEnv/0/value': got number, want string"),
    "label of a selector": (
        {"commonLabels": {"app.kubernetes.io/name": "x"}},
        "commonLabels: app.kubernetes.io/name is a label of the chart",
    ),
    "label of a pool": ({"podLabels": {"event-streams/pool": "x"}}, "podLabels: event-streams/pool is a label"),
    "unknown secret": ({"secrets": {"keys": {"DATABASE_URL": "x"}}}, "'DATABASE_URL' not allowed"),
    "address without port": (
        {"kafka": {"bootstrapServers": "kafka"}},
        "/kafka/bootstrapServers': 'kafka' does not match",
    ),
    "long drain": ({"poolDefaults": {"drainSeconds": 60}}, "/poolDefaults/drainSeconds': maximum: got 60, want 20"),
    "scaler": ({"autoscaling": {"type": "lag"}}, "/autoscaling/type': value must be one of 'none', 'hpa', 'keda'"),
    "delay": ({"retryDelays": ["0s", "soon"]}, "/retryDelays/1': 'soon' does not match"),
    "privileged port": ({"web": {"port": 80}}, "/web/port': minimum: got 80, want 1,024"),
    "console": ({"console": {"enabled": True}}, "/console/enabled': value must be false"),
    "override": ({"overrides": {"topics": {"a.b": {"retention": "1d"}}}}, "'retention' not allowed"),
    "no brokers": ({"kafka": {"bootstrapServers": ""}}, "kafka.bootstrapServers is required"),
    "no storage": ({"storage": {"url": ""}}, "storage.url is required"),
    "folder without a volume": ({"storage": {"url": "file:/data"}}, "no volume is mounted there"),
    "no secret": ({"secrets": {"existingSecret": ""}}, "secrets.existingSecret is required"),
    "two sources": ({"externalSecrets": {"enabled": True}}, "set secrets.existingSecret or externalSecrets.enabled"),
    "store": (
        {"secrets": {"existingSecret": ""}, "externalSecrets": {"enabled": True}},
        "externalSecrets needs store.name and remoteKey",
    ),
    "login": ({"kafka": {"sasl": {"mechanism": "PLAIN"}}}, "kafka.sasl.existingSecret is required"),
    "certificates": ({"kafka": {"tls": {"caSecret": "ca"}}}, "need kafka.tls.enabled"),
    "no delay of zero": ({"retryDelays": ["10s"]}, "retryDelays: one of them must be 0s"),
    "no pool": (
        {"pools": {"high": {"enabled": False}, "default": {"enabled": False}, "low": {"enabled": False}}},
        "at least one must be enabled",
    ),
    "no worker": ({"poolDefaults": {"replicas": 0}}, "at least one must keep a worker"),
    "scaled to nothing": (
        {"autoscaling": {"type": "keda"}, "poolDefaults": {"autoscaling": {"minReplicas": 0}}},
        "at least one must keep a worker",
    ),
    "hpa to zero": (
        {"autoscaling": {"type": "hpa"}, "pools": {"low": {"autoscaling": {"minReplicas": 0}}}},
        "pools.low.autoscaling.minReplicas must be at least 1 with an HPA",
    ),
    "bounds": (
        {"autoscaling": {"type": "keda"}, "pools": {"low": {"autoscaling": {"minReplicas": 9}}}},
        "pools.low.autoscaling: minReplicas is above maxReplicas",
    ),
    "killed while draining": (
        {"pools": {"low": {"terminationGracePeriodSeconds": 20}}},
        "pools.low.terminationGracePeriodSeconds is 20; it must be at least 25",
    ),
    "no cluster": ({"strimzi": {"topics": {"enabled": True}}}, "strimzi.cluster is required"),
    "nobody makes topics": (
        {"strimzi": {"cluster": "main", "users": {"enabled": True}}},
        "set strimzi.topics.enabled, or jobs.topics.enabled=false",
    ),
    "topic twice": (
        {"extraTopics": [{"name": "app.created", "pool": "low"}]},
        "there are two topics named app.created",
    ),
    "override of nothing": ({"overrides": {"topics": {"app.made": {"pool": "low"}}}}, "no topic named app.made"),
    "handler of nothing": ({"handledTopics": ["tenant.made"]}, "handledTopics: there is no topic named tenant.made"),
    "name of a resource": (
        {"topicPrefix": "_.", "strimzi": {"cluster": "main", "topics": {"enabled": True}}},
        "-.document.index-requested cannot be the name of a resource",
    ),
    "no database": (
        {"secrets": {"keys": {"STREAMS_DATABASE_URL": None}}},
        "secrets.keys must have STREAMS_DATABASE_URL",
    ),
    "two logins": (
        {
            "kafka": {"sasl": {"mechanism": "PLAIN", "existingSecret": "login"}},
            "strimzi": {"cluster": "main", "users": {"enabled": True}, "topics": {"enabled": True}},
        },
        "set kafka.sasl or strimzi.users, not both",
    ),
    "secrets elsewhere": (
        {"strimzi": {"cluster": "m", "namespace": "kafka", "users": {"enabled": True}, "topics": {"enabled": True}}},
        "install the release in that namespace",
    ),
}


@pytest.mark.requirement(SECTION, "`values.schema.json` refuses wrong values with a clear message")
@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_refused_with_a_clear_message(case: str) -> None:
    wrong, message = WRONG[case]
    with pytest.raises(helm_python.HelmError) as refused:
        render(merged(read_values("minimal"), wrong))
    assert message in str(refused.value)


def test_every_text_of_the_templates_is_shown_by_a_case() -> None:
    """A sentence that no case shows is a rule that nobody has tried."""
    text = (CHART / "templates" / "validate.yaml").read_text(encoding="utf-8")
    assert text.count("{{- fail ") <= sum(
        "got" not in message and "allowed" not in message for _, message in WRONG.values()
    )


def _words(text: str) -> set[str]:
    """The words of a sentence, but for the names and numbers that are filled in."""
    return {word for word in text.split() if not word[0].isdigit() and "." not in word and "%" not in word}


@pytest.mark.requirement(SECTION, "the README of values is generated, and every value has a comment")
def test_every_value_has_a_comment() -> None:
    values = values_of(VALUES.read_text(encoding="utf-8"))
    assert len(values) > 100
    assert [value.name for value in values if not value.comment.endswith(".")] == []


def test_the_default_values_fit_their_schema() -> None:
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(yaml.safe_load(VALUES.read_text(encoding="utf-8")))


def test_the_limits_name_values_that_exist() -> None:
    names = {value.name for value in values_of(VALUES.read_text(encoding="utf-8"))}
    assert [name for name in LIMITS if name not in names] == []
    assert set(Settings.model_fields) >= {*FROM_OTHER_VALUES, *WITHOUT_MEANING}
