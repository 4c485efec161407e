"""Each component can have its own account. A NetworkPolicy lets through what jobs and tests need, too."""

import pytest

from tests.support.chart.pods import Container, containers, environment, fits, port_names
from tests.support.chart.render import Object, example, examples, merged, objects, of_kind, read_values

SECTION = "Kubernetes"
EACH_EXAMPLE = pytest.mark.parametrize("name", examples())
HOOK = "helm.sh/hook"


def ending(found: list[Object] | tuple[Object, ...], end: str) -> Container:
    """Return the container whose object has this end of its name."""
    return next(one for one in containers(found) if one.owner["metadata"]["name"].endswith(f"-{end}"))


def key_of(container: Container, variable: str) -> str:
    """Return the key in the Secret that a variable comes from."""
    (entry,) = [one for one in container.spec["env"] if one["name"] == variable]
    key: str = entry["valueFrom"]["secretKeyRef"]["key"]
    return key


@pytest.mark.requirement(SECTION, "each component can have an account of its own, in the database and in Kafka")
def test_each_component_has_an_account_of_its_own() -> None:
    found = example("least-privilege")
    database = {
        end: key_of(ending(found, end), "STREAMS_DATABASE_URL") for end in ("high", "relay", "exporter", "database")
    }
    assert database == {
        "high": "worker-database-url",
        "relay": "relay-database-url",
        "exporter": "reader-database-url",
        "database": "owner-database-url",
    }
    users = {
        end: key_of(ending(found, end), "STREAMS_KAFKA_SASL_USERNAME")
        for end in ("high", "relay", "exporter", "topics", "test-topics", "test-health")
    }
    assert users == {
        "high": "username",
        "relay": "relay-username",
        "exporter": "exporter-username",
        "topics": "deployment-username",
        "test-topics": "deployment-username",
        "test-health": "username",
    }
    assert ending(found, "database").spec["command"] == ["streams", "db", "upgrade", "--grant"]


@EACH_EXAMPLE
def test_the_topics_are_tested_with_the_rights_of_a_deployment(name: str) -> None:
    """`streams topics check` reads the topics' configuration, which no worker may."""
    found = example(name)
    checks = [one for one in containers(found) if one.spec.get("command") == ["streams", "topics", "check"]]
    users = {one["metadata"]["name"] for one in of_kind(found, "KafkaUser")}
    assert len(checks) == (0 if users else 1)
    for check in checks:
        for job in [one for one in containers(found) if one.spec.get("command") == ["streams", "topics", "apply"]]:
            assert [one["name"] for one in check.spec["env"]] == [one["name"] for one in job.spec["env"]]


def allowed(policies: list[Object], container: Container, direction: str) -> list[Object] | None:
    """Return the rules for a pod's traffic. None: no policy restricts it."""
    own = [one["spec"] for one in policies if fits(one["spec"]["podSelector"]["matchLabels"], container.labels)]
    own = [one for one in own if direction.title() in one["policyTypes"]]
    return [rule for one in own for rule in one.get(direction, [])] if own else None


def passes(rules: list[Object] | None, side: str, peer: Container, *ports: object) -> bool:
    """Return whether a rule lets through the traffic with a pod of the same namespace.

    Args:
        rules: The rules of one pod for one direction.
        side: `from` or `to`.
        peer: The other pod.
        ports: The port as a rule may name it.
    """
    return rules is None or any(
        any(one.get("port") in ports for one in rule.get("ports", []))
        and (
            side not in rule
            or any(fits(one.get("podSelector", {}).get("matchLabels", {}), peer.labels) for one in rule[side])
        )
        for rule in rules
    )


@pytest.mark.requirement(SECTION, "a NetworkPolicy lets `helm test` reach workers and exporter")
def test_the_pods_of_helm_test_reach_what_they_ask() -> None:
    """Prometheus alone may reach the ports, and egress is restricted to the servers."""
    found = example("network-policy")
    policies = [one for one in of_kind(found, "NetworkPolicy") if HOOK not in one["metadata"].get("annotations", {})]
    test = ending(found, "test-health")
    for end, port in (("high", "web"), ("exporter", "metrics")):
        asked = ending(found, end)
        assert passes(allowed(policies, asked, "ingress"), "from", test, port)
        assert not passes(allowed(policies, asked, "ingress"), "from", ending(found, "relay"), port)
        # By its number: not every network resolves the name of another pod's port.
        assert passes(allowed(policies, test, "egress"), "to", asked, port_names(asked)[port])


@pytest.mark.requirement(SECTION, "the jobs of a first install reach the servers where the namespace denies all egress")
def test_the_jobs_have_a_network_policy_before_the_release_exists() -> None:
    found = example("network-policy")
    (policy,) = [one for one in of_kind(found, "NetworkPolicy") if HOOK in one["metadata"].get("annotations", {})]
    (released,) = [one for one in of_kind(found, "NetworkPolicy") if one is not policy]
    for end in ("database", "topics"):
        job = ending(found, end)
        assert fits(policy["spec"]["podSelector"]["matchLabels"], job.labels)
        weights = [int(one["metadata"]["annotations"][f"{HOOK}-weight"]) for one in (policy, job.owner)]
        assert weights == sorted(set(weights))
    ports = [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["egress"]]
    assert ports == [[53, 53], [9092, 5432, 443]]
    assert policy["spec"]["egress"] == released["spec"]["egress"][:2]
    worker = ending(found, "high")
    assert not fits(policy["spec"]["podSelector"]["matchLabels"], worker.labels)
    assert environment(worker, found)


@pytest.mark.requirement(SECTION, "nothing of a hook is left when the jobs have succeeded")
@EACH_EXAMPLE
def test_hooks_leave_nothing_behind(name: str) -> None:
    """`helm uninstall` removes no hooks, and one of them is a copy of the Secret."""
    for one in example(name):
        annotations = one["metadata"].get("annotations", {})
        if HOOK in annotations:
            policies = annotations[f"{HOOK}-delete-policy"].split(",")
            assert policies == ["before-hook-creation", "hook-succeeded"], one["metadata"]["name"]


def test_storages_of_opendal_are_accepted() -> None:
    found = objects(merged(read_values("minimal"), {"storage": {"url": "opendal:azblob"}}))
    assert environment(ending(found, "high"), found)["STREAMS_STORAGE_URL"] == "opendal:azblob"
