"""The compose file and the local stack run Kafka with the same settings."""

from pathlib import Path

import yaml

from streams.local.kafka import broker_settings

COMPOSE = yaml.safe_load((Path(__file__).parents[3] / "docker-compose.kafka.yml").read_text())
# Settings that depend on the place of the broker.
OF_THE_PLACE = {
    "node.id",
    "process.roles",
    "controller.quorum.voters",
    "controller.listener.names",
    "inter.broker.listener.name",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "log.dirs",
}


def test_the_broker_behaves_as_the_local_one() -> None:
    environment = COMPOSE["services"]["kafka"]["environment"]
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith("KAFKA_")
    }
    assert {name: value for name, value in settings.items() if name not in OF_THE_PLACE} == broker_settings(1)


def test_no_port_is_open_to_other_machines() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_versions_are_those_of_the_local_stack() -> None:
    assert COMPOSE["services"]["kafka"]["image"].endswith(":4.4.0")
    assert COMPOSE["services"]["postgres"]["image"].endswith(":pg18")


def test_three_brokers_keep_three_copies_of_which_two_must_be_written() -> None:
    settings = broker_settings(3)
    assert settings["default.replication.factor"] == settings["offsets.topic.replication.factor"] == "3"
    assert settings["min.insync.replicas"] == settings["transaction.state.log.min.isr"] == "2"


def test_a_dead_worker_s_partitions_move_on_within_its_session() -> None:
    settings = broker_settings(1)
    session, heartbeat = (
        int(settings[f"group.consumer.{name}.ms"]) for name in ("session.timeout", "heartbeat.interval")
    )
    assert session <= 15_000
    assert heartbeat * 3 <= session
