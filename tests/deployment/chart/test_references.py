"""The rendered objects fit each other, read as a cluster would read them."""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import pytest

from streams.cli import COMMANDS
from streams.settings import Settings
from tests.support.chart.pods import (
    FROM_SECRET,
    Container,
    containers,
    environment,
    fits,
    port_names,
    settings_of,
)
from tests.support.chart.render import Object, example, examples, of_kind, pod_templates
from tests.support.pages import page

EACH_EXAMPLE = pytest.mark.parametrize("name", examples())
SECTION = "Kubernetes"
FROM_USERS = {
    "kafka-ca": {"ca.crt"},
    "kafka-client": {"tls.crt", "tls.key"},
    "kafka-login": {"username", "password"},
    "streams": {"database-url", "redis-url"},
    "more": set[str](),
}
"""The Secrets that the examples say exist, with their keys."""
FROM_STRIMZI = {
    "scram-sha-512": {"password", "sasl.jaas.config"},
    "tls": {"ca.crt", "user.crt", "user.key", "user.p12"},
}


def secrets(found: Iterable[Object]) -> dict[str, set[str]]:
    """The keys of every Secret that exists once the operators have done their work."""
    objects = list(found)
    external = {
        one["spec"]["target"]["name"]: {entry["secretKey"] for entry in one["spec"]["data"]}
        for one in of_kind(objects, "ExternalSecret")
    }
    users = {
        one["metadata"]["name"]: FROM_STRIMZI[one["spec"]["authentication"]["type"]]
        for one in of_kind(objects, "KafkaUser")
    }
    clusters = {one["metadata"]["labels"]["strimzi.io/cluster"] for one in of_kind(objects, "KafkaUser")}
    return {**FROM_USERS, **external, **users, **{f"{cluster}-cluster-ca-cert": {"ca.crt"} for cluster in clusters}}


def hook_weight(one: Object) -> int | None:
    """The order of a hook before install; None for an object of the release."""
    annotations = one["metadata"].get("annotations", {})
    return int(annotations["helm.sh/hook-weight"]) if "pre-install" in annotations.get("helm.sh/hook", "") else None


def exists_for(owner: Object, one: Object) -> bool:
    """Whether an object exists when the pods of another start: a hook sees hooks before it, and nothing else."""
    weight, own = hook_weight(one), hook_weight(owner)
    return weight is None if own is None else weight is not None and weight < own


def named(found: Iterable[Object], kind: str, owner: Object) -> set[str]:
    return {one["metadata"]["name"] for one in of_kind(found, kind) if exists_for(owner, one)}


@pytest.mark.requirement(SECTION, "service → pod: every service selects pods that have its port")
@EACH_EXAMPLE
def test_a_service_leads_to_pods_with_its_port(name: str) -> None:
    found = example(name)
    for service in of_kind(found, "Service"):
        reached = [one for one in containers(found) if fits(service["spec"]["selector"], one.labels)]
        assert reached, service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            assert {port_names(one).get(port["targetPort"]) for one in reached if one.is_ours} == {port["port"]}


@EACH_EXAMPLE
def test_monitors_select_what_has_their_port(name: str) -> None:
    found = example(name)
    for monitor in of_kind(found, "PodMonitor"):
        reached = [one for one in containers(found) if fits(monitor["spec"]["selector"]["matchLabels"], one.labels)]
        ports = {port for one in reached for port in port_names(one)}
        assert {one["port"] for one in monitor["spec"]["podMetricsEndpoints"]} <= ports
        assert set(monitor["spec"]["podTargetLabels"]) <= {label for one in reached for label in one.labels}
    for monitor in of_kind(found, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        services = [one for one in of_kind(found, "Service") if fits(selector, one["metadata"]["labels"])]
        assert len(services) == 1
        ports = {port["name"] for port in services[0]["spec"]["ports"]}
        assert {one["port"] for one in monitor["spec"]["endpoints"]} <= ports


@pytest.mark.requirement(SECTION, "probe → port: probes ask the port and the address that the process listens on")
@EACH_EXAMPLE
def test_probes_ask_the_port_that_the_process_listens_on(name: str) -> None:
    found = example(name)
    asked = 0
    for container in containers(found):
        settings = settings_of(container, found) if container.is_ours else None
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if settings is None or probe not in container.spec:
                continue
            asked += 1
            get = container.spec[probe]["httpGet"]
            assert get["path"] in {"/health/live", "/health/ready"}
            number = port_names(container)[get["port"]]
            own = environment(container, found)
            is_worker = container.spec["command"][0] == "faust"
            host = settings.web_bind if is_worker else own["STREAMS_EXPORTER_HOST"]
            assert number == (settings.web_port if is_worker else int(own["STREAMS_EXPORTER_PORT"]))
            assert ip_address(host).is_unspecified, "the kubelet asks by the address of the pod"
    assert asked


@pytest.mark.requirement(SECTION, "env → setting that exists: each variable is a setting, and accepts its value")
@EACH_EXAMPLE
def test_variables_are_settings_with_values_that_they_accept(name: str) -> None:
    found = example(name)
    known = {f"STREAMS_{field.upper()}" for field in Settings.model_fields}
    for container in filter(lambda one: one.is_ours, containers(found)):
        variables = environment(container, found)
        assert {own for own in variables if own.startswith("STREAMS_")} - known == set(), container.name
        settings_of(container, found)
        assert variables["STREAMS_DATABASE_URL"] == FROM_SECRET
        assert not container.pod["enableServiceLinks"], (
            "a Service named streams-exporter would set STREAMS_EXPORTER_PORT"
        )
        own = [one["name"] for one in container.spec["env"]]
        assert len(set(own)) == len(own)


@EACH_EXAMPLE
def test_what_pods_refer_to_exists_when_they_start(name: str) -> None:
    """ConfigMaps, accounts and claims; a hook before the first install finds hooks alone."""
    found = example(name)
    for owner, pod in pod_templates(found):
        maps = named(found, "ConfigMap", owner)
        accounts = named(found, "ServiceAccount", owner) | {"default"}
        assert pod["spec"]["serviceAccountName"] in accounts
        sources = [
            one["configMapRef"]
            for own in pod["spec"]["containers"]
            for one in own.get("envFrom", [])
            if "configMapRef" in one
        ]
        sources += [one["configMap"] for one in pod["spec"]["volumes"] if "configMap" in one]
        assert {one["name"] for one in sources} <= maps
    for one in of_kind(found, "Job"):
        assert hook_weight(one) is not None


@pytest.mark.requirement(SECTION, "secret → key: every key that a pod or a trigger reads is in its Secret")
@EACH_EXAMPLE
def test_secrets_have_the_keys_that_are_read(name: str) -> None:
    found = example(name)
    known = secrets(found)
    read = []
    for container in containers(found):
        sources = [one["valueFrom"]["secretKeyRef"] for one in container.spec.get("env", []) if "valueFrom" in one]
        read += [(one["name"], one["key"]) for one in sources]
        volumes = [one["secret"] for one in container.pod["volumes"] if "secret" in one]
        read += [(one["secretName"], item["key"]) for one in volumes for item in one["items"]]
    for one in of_kind(found, "TriggerAuthentication"):
        read += [(entry["name"], entry["key"]) for entry in one["spec"]["secretTargetRef"]]
    assert read
    assert [(secret, key) for secret, key in read if key not in known.get(secret, set())] == []


@EACH_EXAMPLE
def test_the_files_of_settings_are_mounted(name: str) -> None:
    found = example(name)
    for container in filter(lambda one: one.is_ours, containers(found)):
        volumes = {one["name"]: one for one in container.pod["volumes"]}
        mounts = {one["mountPath"]: volumes[one["name"]] for one in container.spec["volumeMounts"]}
        assert "emptyDir" in mounts[environment(container, found)["TMPDIR"]]
        for variable, value in environment(container, found).items():
            if value.startswith("/etc/streams/"):
                folder, _, file = value.rpartition("/")
                source = mounts[folder].get("secret") or mounts[folder]["configMap"]
                assert file in {item["path"] for item in source["items"]}, variable
            if variable == "STREAMS_STORAGE_URL" and value.startswith("file:"):
                assert "persistentVolumeClaim" in mounts[value.removeprefix("file:")]


@EACH_EXAMPLE
def test_scalers_budgets_and_policies_find_their_pods(name: str) -> None:
    found = example(name)
    deployments = {one["metadata"]["name"]: one for one in of_kind(found, "Deployment")}
    scaled = [one["spec"]["scaleTargetRef"] for one in of_kind(found, "ScaledObject", "HorizontalPodAutoscaler")]
    for target in scaled:
        assert "replicas" not in deployments[target["name"]]["spec"], "an upgrade would undo the scaling"
    assert len(scaled) in {0, len(of_kind(found, "PodDisruptionBudget"))}
    for one in of_kind(found, "PodDisruptionBudget"):
        assert [owner for owner, pod in pod_templates(found) if fits(labels(one), pod["metadata"]["labels"])] == [
            deployments[one["metadata"]["name"]]
        ]
    for one in deployments.values():
        pod = one["spec"]["template"]
        assert fits(labels(one), pod["metadata"]["labels"])
        others = [other for other in deployments.values() if other is not one]
        assert not any(fits(labels(other), pod["metadata"]["labels"]) for other in others)
        for rule in pod["spec"].get("topologySpreadConstraints", []):
            assert rule["labelSelector"]["matchLabels"] == labels(one)
    for one in filter(lambda one: hook_weight(one) is None, of_kind(found, "NetworkPolicy")):
        selector = one["spec"]["podSelector"]["matchLabels"]
        assert all(
            fits(selector, pod["metadata"]["labels"]) for _, pod in pod_templates(found) if pod.get("kind") != "Pod"
        )
        ports = {port["port"] for rule in one["spec"]["ingress"] for port in rule["ports"]}
        assert ports == {port for container in containers(found) for port in port_names(container)}


def labels(one: Object) -> Mapping[str, str]:
    """The labels that an object selects."""
    selected: Mapping[str, str] = one["spec"]["selector"]["matchLabels"]
    return selected


@pytest.mark.requirement(SECTION, "commands of pods exist")
@EACH_EXAMPLE
def test_the_commands_of_pods_exist(name: str) -> None:
    for container in filter(lambda one: one.is_ours, containers(example(name))):
        program, *arguments = container.spec["command"]
        match program:
            case "faust":
                assert arguments == ["-A", "streams", "worker"]
            case "streams":
                assert arguments[0] in COMMANDS
                known = page("docs/reference/commands.md").text
                words = " ".join(word for word in arguments if not word.startswith("-"))
                assert f"`streams {words}`" in known
            case _:
                assert program == "python"


@pytest.mark.requirement(SECTION, "restricted security context, read-only root, no token")
@EACH_EXAMPLE
def test_pods_are_restricted(name: str) -> None:
    """The Pod Security Standard `restricted`, and a root file system that cannot be written."""
    for container in filter(lambda one: one.is_ours, containers(example(name))):
        pod, own = container.pod["securityContext"], container.spec["securityContext"]
        assert (pod["runAsNonRoot"], pod["runAsUser"]) == (True, 10001)
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        assert container.pod["automountServiceAccountToken"] is False
        assert {"limits", "requests"} <= container.spec["resources"].keys()
        assert container.spec["workingDir"] == "/tmp"  # noqa: S108 - the mounted folder of the pod


@pytest.mark.requirement(SECTION, "drain by terminationGracePeriodSeconds and preStop; an update never empties a pool")
@EACH_EXAMPLE
def test_workers_drain_and_are_replaced_one_by_one(name: str) -> None:
    found = example(name)
    for container in workers(found):
        stop = container.spec.get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})["preStop"]["sleep"]["seconds"]
        drain = settings_of(container, found).drain_timeout
        assert container.pod["terminationGracePeriodSeconds"] >= stop + drain + 5
        assert container.owner["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@EACH_EXAMPLE
def test_each_pool_has_one_deployment(name: str) -> None:
    found = example(name)
    pools = [environment(one, found)["STREAMS_POOLS"] for one in workers(found)]
    assert pools == (["default"] if name == "one-pool" else ["high", "default", "low"])
    for one in workers(found):
        assert one.labels["event-streams/pool"] == environment(one, found)["STREAMS_POOLS"]
        assert one.owner["metadata"]["name"].endswith(one.labels["event-streams/pool"])


def workers(found: Iterable[Object]) -> list[Container]:
    return [one for one in containers(found) if one.is_ours and one.spec["command"][0] == "faust"]


def test_a_test_pod_asks_services_that_exist() -> None:
    for name in examples():
        found = example(name)
        services = {one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in of_kind(found, "Service")}
        (health,) = (one for one in of_kind(found, "Pod") if one["metadata"]["name"].endswith("-test-health"))
        urls = [re.fullmatch(r"http://([^:]+):(\d+)/.*", one) for one in health["spec"]["containers"][0]["command"][3:]]
        assert {match[1]: int(match[2]) for match in urls if match} == services


@pytest.mark.requirement(SECTION, "every pod can be placed: tolerations, affinity, labels and annotations")
def test_every_pod_is_placed_and_labelled() -> None:
    """On nodes with taints, a job that cannot run blocks the whole installation."""
    for owner, pod in pod_templates(example("pods")):
        is_worker = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
        assert pod["spec"]["tolerations"][0]["key"] == ("dedicated" if is_worker else "other"), owner["metadata"][
            "name"
        ]
        assert "nodeAffinity" in pod["spec"]["affinity"]
        assert pod["metadata"]["labels"]["tier"] == "backend"
        assert pod["metadata"]["annotations"]["example.com/scrape"] == "true"
        assert ("example.com/team" in pod["metadata"]["annotations"]) == is_worker
