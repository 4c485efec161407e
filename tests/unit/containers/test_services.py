"""The services of the compose file fit each other, the image and the settings. No container engine is needed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from streams.local.demo import SETTINGS
from streams.settings import POOL_NAMES, Settings
from tests.support.image.dockerfile import read_stages
from tests.support.pages import ROOT

SECTION = "Containers"
TEXT = (ROOT / "docker-compose.kafka.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PIPELINE = {name: service for name, service in SERVICES.items() if service.get("profiles") == ["app"]}
WORKERS = {name: service for name, service in PIPELINE.items() if name.startswith("worker-")}
ONE_SHOT = {"platform-tables", "migrate", "topics"}
NO_PROGRAM_TO_ASK = {"otel-collector", "jaeger"}
"""Their images have neither a shell nor a client."""
ENTRY_POINT = ("streams", "faust")


def read(path: str) -> Any:  # noqa: ANN401 - YAML is anything
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def targets(config: dict[str, Any]) -> set[str]:
    return {
        target for job in config["scrape_configs"] for static in job["static_configs"] for target in static["targets"]
    }


@pytest.mark.requirement(SECTION, "the compose file is valid by the Compose specification")
def test_the_file_is_valid_by_the_specification() -> None:
    PyCompose.from_yaml(yaml.safe_dump(COMPOSE)).validate()


@pytest.mark.requirement(SECTION, "the compose file is valid by the Compose specification")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mem_limt", "1g"),
        ("mem_limit", "1zz"),
        ("read_only", "perhaps"),
        ("depends_on", {"kafka": {"condition": "service_done"}}),
        ("healthcheck", {"tests": ["CMD", "true"]}),
    ],
)
def test_a_mistake_is_refused(name: str, value: object) -> None:
    wrong = {**COMPOSE, "services": {**SERVICES, "relay": {**SERVICES["relay"], name: value}}}
    with pytest.raises(ValueError, match=rf"services\.relay.*{name.partition('_')[0]}"):
        PyCompose.from_yaml(yaml.safe_dump(wrong))


def test_the_profiles_have_their_services() -> None:
    found: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        found.setdefault(",".join(service.get("profiles", [""])), set()).add(name)
    assert found == {
        "": {"kafka", "postgres", "redis"},
        "app": ONE_SHOT | {f"worker-{pool}" for pool in POOL_NAMES} | {"relay", "exporter", "demo"},
        "observe": {"prometheus", "grafana", "alertmanager", "otel-collector", "jaeger"},
        "ui": {"kafbat"},
    }
    assert "# console:" in TEXT


def test_every_service_has_a_memory_limit_and_every_server_a_health_check() -> None:
    assert [name for name, service in SERVICES.items() if not service.get("mem_limit")] == []
    servers = set(SERVICES) - set(PIPELINE) - NO_PROGRAM_TO_ASK
    assert [name for name in servers if "healthcheck" not in SERVICES[name]] == []
    assert read_stages()[-1].last("HEALTHCHECK").text


@pytest.mark.requirement(SECTION, "containers of the pipeline have no rights and a read-only root")
@pytest.mark.parametrize("name", PIPELINE)
def test_a_container_of_the_pipeline_has_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"][0].partition(":")[0] == "/tmp"  # noqa: S108 - of the container
    assert "user" not in service
    if "entrypoint" not in service:
        assert service["command"][0] in ENTRY_POINT


@pytest.mark.requirement(SECTION, "migration and topics come before the processes that need them")
def test_the_processes_wait_for_the_migration_and_the_topics() -> None:
    for name in ("migrate", "topics"):
        assert SERVICES[name]["restart"] == "no"
        for process in (*WORKERS, "relay", "exporter"):
            assert SERVICES[process]["depends_on"][name] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["command"] == ["streams", "db", "upgrade"]
    assert SERVICES["topics"]["command"] == ["streams", "topics", "apply"]


@pytest.mark.requirement(SECTION, "one worker per pool")
def test_each_pool_has_a_worker() -> None:
    assert sorted(service["environment"]["STREAMS_POOLS"] for service in WORKERS.values()) == sorted(POOL_NAMES)
    for name, service in WORKERS.items():
        assert name == f"worker-{service['environment']['STREAMS_POOLS']}"
        grace = int(service["stop_grace_period"].removesuffix("s"))
        assert grace > Settings.model_fields["drain_timeout"].default


@pytest.mark.parametrize("name", PIPELINE)
def test_the_settings_exist_and_are_accepted(name: str) -> None:
    given = {key.removeprefix("STREAMS_").lower(): value for key, value in _settings(name).items()}
    assert given.keys() <= Settings.model_fields.keys()
    settings = Settings.model_validate(given)
    hosts = {settings.kafka_bootstrap_servers.partition(":")[0]}
    hosts |= set(re.findall(r"[@/]([a-z]+):\d", f"{given['database_url']} {given['redis_url']}"))
    assert hosts == {"kafka", "postgres", "redis"}
    assert (
        f"INSIDE://{settings.kafka_bootstrap_servers}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    )
    mounts = {volume.split(":")[1] for volume in SERVICES[name]["volumes"]}
    assert str(settings.overrides) in mounts
    assert settings.storage_url.removeprefix("file:") in mounts


def test_all_processes_have_the_same_settings_but_their_own() -> None:
    own = {"STREAMS_POOLS", "STREAMS_WEB_BIND", "STREAMS_EXPORTER_HOST"}
    kinds = {json.dumps({k: v for k, v in _settings(name).items() if k not in own}) for name in PIPELINE}
    assert len(kinds) == 1
    assert _settings("relay").items() >= SETTINGS.items()


def test_what_is_mounted_exists_and_every_volume_is_used() -> None:
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = [volume for volume in mounted if volume.startswith("./")]
    assert [volume for volume in files if not (ROOT / volume.split(":")[0]).exists()] == []
    assert [volume for volume in files if not volume.endswith(":ro")] == []
    assert {volume.split(":")[0] for volume in mounted if not volume.startswith("./")} == set(COMPOSE["volumes"])


def test_no_two_services_take_the_same_port() -> None:
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports))


def test_prometheus_asks_every_process_with_a_port() -> None:
    """With the rules and the intervals of deploy/prometheus."""
    config, example = read("deploy/compose/prometheus.yml"), read("deploy/prometheus/prometheus.yml")
    assert targets(config) == {f"{name}:6066" for name in WORKERS} | {"exporter:9308"}
    assert config["global"] == example["global"]
    assert config["rule_files"] == example["rule_files"]
    assert [job["job_name"] for job in config["scrape_configs"]] == [
        job["job_name"] for job in example["scrape_configs"]
    ]
    (managers,) = config["alerting"]["alertmanagers"]
    assert managers["static_configs"][0]["targets"] == ["alertmanager:9093"]


def test_grafana_finds_its_dashboards_and_data_sources() -> None:
    grafana = SERVICES["grafana"]
    (provider,) = read("deploy/grafana/provisioning/dashboards/streams.yaml")["providers"]
    assert provider["options"]["path"] in {volume.split(":")[1] for volume in grafana["volumes"]}
    assert grafana["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
    (jaeger,) = read("deploy/compose/grafana-jaeger.yaml")["datasources"]
    assert jaeger["url"] == "http://jaeger:16686"


def test_traces_go_from_the_collector_to_jaeger() -> None:
    config = read("deploy/compose/otel-collector.yml")
    (traces,) = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert set(traces[kind]) == set(config[kind])
    assert config["exporters"]["otlp/jaeger"]["endpoint"] == "jaeger:4317"
    assert config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")


def test_the_alerts_have_a_receiver() -> None:
    config = read("deploy/compose/alertmanager.yml")
    assert config["route"]["receiver"] in {receiver["name"] for receiver in config["receivers"]}


@pytest.mark.requirement(SECTION, "one command brings the containers up and runs the demo in them")
def test_the_demo_waits_for_healthy_workers_and_uses_their_storage() -> None:
    demo = SERVICES["demo"]
    assert demo["command"] == ["streams", "demo", "/handbook", "--existing"]
    for name in WORKERS:
        assert demo["depends_on"][name] == {"condition": "service_healthy"}
    assert "relay" in demo["depends_on"]
    assert "./examples/handbook:/handbook:ro" in demo["volumes"]
    page = Path(ROOT / "docs" / "how-to" / "run-in-containers.md").read_text(encoding="utf-8")
    assert "docker compose --file docker-compose.kafka.yml --profile app run --build --rm demo" in page


def _settings(name: str) -> dict[str, str]:
    return {key: value for key, value in SERVICES[name]["environment"].items() if key.startswith("STREAMS_")}
