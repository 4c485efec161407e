"""The schema of the chart's values: types from values.yaml, limits from the table here, settings from the code.

Helm refuses values that do not fit, with the path of the value.
"""

import json
from collections.abc import Mapping
from typing import TypeAlias

import yaml

from streams.settings import POOL_NAMES, Settings
from tests.support.chart.readme import values_of
from tests.support.pages import ROOT

Schema: TypeAlias = dict[str, object]

VALUES = ROOT / "deploy" / "helm" / "event-streams" / "values.yaml"
FROM_OTHER_VALUES: Mapping[str, str] = {
    "application": "application",
    "topic_prefix": "topicPrefix",
    "retry_delays": "retryDelays",
    "partitions": "partitions",
    "overrides": "overrides",
    "pools": "pools.NAME.enabled",
    "drain_timeout": "pools.NAME.drainSeconds",
    "kafka_bootstrap_servers": "kafka.bootstrapServers",
    "kafka_security_protocol": "kafka.tls and kafka.sasl",
    "group_protocol": "kafka.groupProtocol",
    "kafka_sasl_mechanism": "kafka.sasl.mechanism",
    "kafka_sasl_username": "kafka.sasl.existingSecret",
    "kafka_ssl_ca_location": "kafka.tls.caSecret",
    "kafka_ssl_certificate_location": "kafka.tls.clientSecret",
    "kafka_ssl_key_location": "kafka.tls.clientSecret",
    "storage_url": "storage.url",
    "web_bind": "web.bind",
    "web_port": "web.port",
    "exporter_host": "web.bind",
    "exporter_port": "exporter.port",
}
"""Settings that the chart sets itself, with the values that they come from."""
WITHOUT_MEANING = {"local_dir"}
"""Settings that have no meaning in a container."""
SASL_LOGIN = ("STREAMS_KAFKA_SASL_USERNAME", "STREAMS_KAFKA_SASL_PASSWORD")

_TEXT: Schema = {"type": "string", "minLength": 1}
_MAP: Schema = {"type": "object"}
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
_NAMES: Schema = {"type": "array", "items": _TEXT, "uniqueItems": True}
_OPTIONAL: Schema = {"enum": [True, False, "auto"]}
_DELAY: Schema = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}
_INTERVAL: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"}
_POSITIVE: Schema = {"type": "integer", "minimum": 1}
_PORT: Schema = {"type": "integer", "minimum": 1024, "maximum": 65535}
_ENV: Schema = {
    "type": "array",
    "items": {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "value": {"type": "string"}}},
}
_TOPIC: Schema = {
    "type": "object",
    "required": ["name", "pool"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9._-]+$"},
        "pool": {"enum": list(POOL_NAMES)},
        "partitions": _POSITIVE,
        "retentionMs": _POSITIVE,
    },
}
_OVERRIDE: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"pool": {"enum": list(POOL_NAMES)}, "partitions": _POSITIVE},
}

LIMITS: Mapping[str, Schema] = {
    "nameOverride": {"type": "string", "pattern": "^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$", "maxLength": 63},
    "fullnameOverride": {"type": "string", "pattern": "^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$", "maxLength": 40},
    "image.repository": _TEXT,
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "image.pullSecrets": _NAMES,
    "application": {"type": "string", "pattern": "^[a-z][a-z0-9-]*$", "maxLength": 100},
    "topicPrefix": {"type": "string", "pattern": "^[A-Za-z0-9._-]*$", "maxLength": 100},
    "retryDelays": {"type": "array", "items": _DELAY, "minItems": 1, "uniqueItems": True},
    "partitions": _POSITIVE,
    "overrides": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "handlers": {"type": "object", "additionalProperties": _MAP},
            "topics": {"type": "object", "additionalProperties": _OVERRIDE},
            "pools": {"type": "object", "additionalProperties": _MAP},
        },
    },
    "extraTopics": {"type": "array", "items": _TOPIC},
    "handledTopics": _NAMES,
    "kafka.bootstrapServers": {"type": "string", "pattern": "^([^\\s,:]+:[0-9]+(,[^\\s,:]+:[0-9]+)*)?$"},
    "kafka.groupProtocol": {"enum": ["cooperative", "consumer"]},
    "kafka.sasl.mechanism": {"enum": ["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]},
    "storage.url": {"type": "string", "pattern": "^((s3://|file:|opendal:).+)?$"},
    "storage.mountPath": {"type": "string", "pattern": "^/.+"},
    "externalSecrets.store.kind": {"enum": ["SecretStore", "ClusterSecretStore"]},
    "externalSecrets.refreshInterval": _INTERVAL,
    "console.enabled": {"const": False},
    "web.port": _PORT,
    "exporter.port": _PORT,
    "jobs.activeDeadlineSeconds": _POSITIVE,
    "autoscaling.type": {"enum": ["none", "hpa", "keda"]},
    "autoscaling.keda.pollingInterval": _POSITIVE,
    "autoscaling.keda.prometheusAddress": {"type": "string", "pattern": "^(https?://.+)?$"},
    "autoscaling.keda.kafkaVersion": {"type": "string", "pattern": "^[0-9]+[.][0-9]+[.][0-9]+$"},
    "strimzi.apiVersion": {"enum": ["v1", "v1beta2"]},
    "strimzi.topics.replicas": _POSITIVE,
    "strimzi.users.authentication": {"enum": ["scram-sha-512", "tls"]},
    "monitoring.labels": _TEXTS,
    "monitoring.podMonitor.enabled": _OPTIONAL,
    "monitoring.podMonitor.interval": _INTERVAL,
    "monitoring.serviceMonitor.enabled": _OPTIONAL,
    "monitoring.serviceMonitor.interval": _INTERVAL,
    "monitoring.prometheusRule.enabled": _OPTIONAL,
    "monitoring.dashboards.annotations": _TEXTS,
    "monitoring.prometheusRule.objectives": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "ratio": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            **{str(pool): _POSITIVE for pool in POOL_NAMES},
        },
    },
    "networkPolicy.from": _OBJECTS,
    "networkPolicy.egress": _OBJECTS,
    "serviceAccount.annotations": _TEXTS,
    "podSecurityContext": _MAP,
    "containerSecurityContext": _MAP,
    "podAnnotations": _TEXTS,
    "podLabels": _TEXTS,
    "nodeSelector": _TEXTS,
    "tolerations": _OBJECTS,
    "affinity": _MAP,
    "extraEnv": _ENV,
    "extraEnvFrom": _OBJECTS,
    "extraVolumes": _OBJECTS,
    "extraVolumeMounts": _OBJECTS,
    "sidecars": _OBJECTS,
    "commonAnnotations": _TEXTS,
    "commonLabels": _TEXTS,
    "jobs.resources": _MAP,
    "relay.resources": _MAP,
    "exporter.resources": _MAP,
    "poolDefaults.resources": _MAP,
    "poolDefaults.drainSeconds": {"type": "integer", "minimum": 1, "maximum": 20},
    "poolDefaults.maxUnavailable": {"oneOf": [_POSITIVE, {"type": "string", "pattern": "^[1-9][0-9]?%$"}]},
    "poolDefaults.autoscaling.maxReplicas": _POSITIVE,
    "poolDefaults.autoscaling.targetCPU": _POSITIVE,
    "poolDefaults.autoscaling.lagThreshold": _POSITIVE,
    "poolDefaults.autoscaling.retryLagThreshold": _POSITIVE,
    "poolDefaults.autoscaling.ageThreshold": _POSITIVE,
    "poolDefaults.podAnnotations": _TEXTS,
    "poolDefaults.podLabels": _TEXTS,
    "poolDefaults.nodeSelector": _TEXTS,
    "poolDefaults.tolerations": _OBJECTS,
    "poolDefaults.affinity": _MAP,
    "poolDefaults.topologyKeys": _NAMES,
    "poolDefaults.extraEnv": _ENV,
}
"""What the type of the default does not say."""


def setting_names(*, secret: bool) -> list[str]:
    """Return the variables that `settings` may have, or with `secret`, those that may come from a Secret."""
    fields = Settings.model_fields.items()
    return sorted(
        f"STREAMS_{name.upper()}"
        for name, field in fields
        if name not in {*FROM_OTHER_VALUES, *WITHOUT_MEANING} and (secret or "SecretStr" not in str(field.annotation))
    )


def settings_elsewhere() -> dict[str, str]:
    """Return the variables that `settings` must not have, with the values to set in their place.

    The schema lets them pass: its own message would only say that they are not allowed.
    """
    secrets = set(setting_names(secret=True)) - set(setting_names(secret=False))
    return {
        **{f"STREAMS_{name.upper()}": value for name, value in FROM_OTHER_VALUES.items()},
        **dict.fromkeys(secrets, "secrets.keys"),
        "TMPDIR": "temporary.sizeLimit",
        "HOME": "temporary.sizeLimit",
    }


def values_schema() -> str:
    """Return the schema as JSON."""
    text = VALUES.read_text(encoding="utf-8")
    comments = {value.name: value.comment for value in values_of(text)}
    scalar: Schema = {"type": ["string", "number", "boolean"]}
    # validate.yaml refuses those of other values, and names the value.
    settings = _closed(dict.fromkeys(sorted({*setting_names(secret=False), *settings_elsewhere()}), scalar))
    keys = _closed(dict.fromkeys(sorted({*setting_names(secret=True), *SASL_LOGIN}), _TEXT))
    limits = {
        **LIMITS,
        "settings": settings,
        "poolDefaults.settings": settings,
        "secrets.keys": _closed(dict.fromkeys(setting_names(secret=True), _TEXT)),
        "relay.secretKeys": keys,
        "exporter.secretKeys": keys,
        "jobs.database.secretKeys": keys,
        "jobs.topics.secretKeys": keys,
    }
    properties = _properties(yaml.safe_load(text), (), limits, comments)
    pool: Schema = {"$ref": "#/properties/poolDefaults"}
    properties["pools"] = _closed(dict.fromkeys(POOL_NAMES, pool))
    # Helm passes the values of a parent chart along.
    properties["global"] = _MAP
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "event-streams",
        **_closed(properties),
    }
    return json.dumps(schema, indent=1) + "\n"


def _properties(
    values: Mapping[str, object], path: tuple[str, ...], limits: Mapping[str, Schema], comments: Mapping[str, str]
) -> Schema:
    found: Schema = {}
    for name, value in values.items():
        own = (*path, name)
        key = ".".join(own)
        if key in limits:
            schema = dict(limits[key])
        elif isinstance(value, dict):
            schema = _closed(_properties(value, own, limits, comments))
        else:
            schema = _of_type(value, key)
        found[name] = {**schema, **({"description": comments[key]} if comments.get(key) else {})}
    return found


def _closed(properties: Mapping[str, object]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _of_type(value: object, key: str) -> Schema:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case str():
            return {"type": "string"}
    message = f"values_schema.LIMITS lacks {key}"
    raise LookupError(message)
