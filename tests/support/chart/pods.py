"""What a container of the chart really gets: its variables from ConfigMaps, Secrets and the specification."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from streams.settings import Settings
from tests.support.chart.render import Object, of_kind, pod_templates

FROM_SECRET = "from-a-secret"


@dataclass(frozen=True, slots=True)
class Container:
    """A container with its place."""

    owner: Object
    """The Deployment, Job or Pod."""
    pod: Object
    """The specification of the pod."""
    spec: Object
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        """Owner and container, for messages."""
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}/{self.spec['name']}"

    @property
    def is_ours(self) -> bool:
        """Whether it runs the image of the chart."""
        return "event-streams" in self.spec["image"]


def containers(found: Iterable[Object]) -> Iterator[Container]:
    """Yield every container of the objects."""
    for owner, pod in pod_templates(found):
        for spec in pod["spec"]["containers"]:
            yield Container(owner, pod["spec"], spec, pod["metadata"]["labels"])


def environment(container: Container, found: Iterable[Object]) -> dict[str, str]:
    """Return the variables of a container. The value of a secret is FROM_SECRET."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(found, "ConfigMap")}
    variables: dict[str, str] = {}
    for source in container.spec.get("envFrom", []):
        if "configMapRef" in source:
            variables |= maps[source["configMapRef"]["name"]]
    for one in container.spec["env"]:
        variables[one["name"]] = one.get("value", FROM_SECRET)
    return variables


def settings_of(container: Container, found: Iterable[Object]) -> Settings:
    """Return the settings that the process would read. Raises ValidationError."""
    own = {
        name.removeprefix("STREAMS_").lower(): value
        for name, value in environment(container, found).items()
        if name.startswith("STREAMS_") and value != FROM_SECRET
    }
    return Settings.model_validate(own)


def fits(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether a selector by labels selects these labels."""
    return bool(selector) and selector.items() <= labels.items()


def port_names(container: Container) -> dict[str, int]:
    """Return the named ports of a container."""
    return {port["name"]: port["containerPort"] for port in container.spec.get("ports", [])}
