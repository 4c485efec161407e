"""Lag and offsets on the names of whichever exporter a deployment has.

kafka_exporter, which Strimzi deploys, `streams exporter` and the workers share their names and labels. kminion has its
own. Each query asks for both. The variable `names` is the beginning of the metrics' names, so only one side has series.
"""

from dashboards.panels import RATE, ChoiceVariable, LabelVariable

NAMES = ChoiceVariable(
    "names",
    "Lag from",
    "Which program's metrics of lag are shown. Workers and `streams exporter` use kafka_exporter's names.",
    (("streams / kafka_exporter / Strimzi", "kafka"), ("kminion", "kminion_kafka")),
)

_GROUP_TOPIC = 'consumergroup=~"$group", topic=~"$topic"'
_KMINION_GROUP_TOPIC = 'group_id=~"$group", topic_name=~"$topic"'


def _renamed(expr: str, **labels: str) -> str:
    """Return the expression with kminion's labels under kafka_exporter's names."""
    for name, former in labels.items():
        expr = f'label_replace({expr}, "{name}", "$1", "{former}", "(.*)")'
    return expr


_KMINION_LAG = _renamed(
    f"${{names}}_consumer_group_topic_partition_lag{{{_KMINION_GROUP_TOPIC}}}",
    consumergroup="group_id",
    topic="topic_name",
    partition="partition_id",
)

LAG_BY_PARTITION = (
    "clamp_min(max by (consumergroup, topic, partition) "
    f"(${{names}}_consumergroup_lag{{{_GROUP_TOPIC}}} or {_KMINION_LAG}), 0)"
)
LAG_BY_TOPIC = f"sum by (consumergroup, topic) ({LAG_BY_PARTITION})"
LAG_BY_GROUP = f"sum by (consumergroup) ({LAG_BY_PARTITION})"

RATE_OUT = (
    "(sum by (consumergroup, topic) (max by (consumergroup, topic, partition) "
    f"(rate(${{names}}_consumergroup_current_offset{{{_GROUP_TOPIC}}}[{RATE}])))"
    " or max by (consumergroup, topic) ("
    + _renamed(
        f"rate(${{names}}_consumer_group_topic_offset_sum{{{_KMINION_GROUP_TOPIC}}}[{RATE}])",
        consumergroup="group_id",
        topic="topic_name",
    )
    + "))"
)
"""Settled records per second, by group and topic."""

RATE_IN = (
    "(sum by (topic) (max by (topic, partition) "
    f'(rate(${{names}}_topic_partition_current_offset{{topic=~"$topic"}}[{RATE}])))'
    " or max by (topic) ("
    + _renamed(f'rate(${{names}}_topic_high_water_mark_sum{{topic_name=~"$topic"}}[{RATE}])', topic="topic_name")
    + "))"
)
"""Written records per second, by topic."""

UNTIL_EMPTY = (
    f"({LAG_BY_TOPIC} == 0) or {LAG_BY_TOPIC} / on (consumergroup, topic) "
    f"({RATE_OUT} - on (topic) group_left () {RATE_IN} > 0)"
)
"""Seconds until nothing waits, if both rates stay as they are. No value where the lag does not shrink."""

_MOVED = (
    "(max by (consumergroup, topic, partition) "
    f"(changes(${{names}}_consumergroup_current_offset{{{_GROUP_TOPIC}}}[15m])) == bool 0)"
)
_KMINION_MOVED = (
    "(max by (consumergroup, topic) ("
    + _renamed(
        f"changes(${{names}}_consumer_group_topic_offset_sum{{{_KMINION_GROUP_TOPIC}}}[15m])",
        consumergroup="group_id",
        topic="topic_name",
    )
    + ") == bool 0)"
)
STALLED = (
    f"sum by (consumergroup, topic) (({LAG_BY_PARTITION} > bool 0) * on (consumergroup, topic, partition) {_MOVED})"
    f" or (({LAG_BY_TOPIC} > bool 0) * on (consumergroup, topic) {_KMINION_MOVED})"
)
"""Partitions with lag whose committed offset has not moved for 15 minutes. kminion: 1 for the topic."""

GROUP = LabelVariable(
    "group",
    "Group",
    "query_result(count by (consumergroup) (${names}_consumergroup_lag or "
    + _renamed("${names}_consumer_group_topic_partition_lag", consumergroup="group_id")
    + "))",
    regex='/consumergroup="([^"]*)"/',
)
TOPIC = LabelVariable(
    "topic",
    "Topic",
    'query_result(count by (topic) (${names}_consumergroup_lag{consumergroup=~"$group"} or '
    + _renamed('${names}_consumer_group_topic_partition_lag{group_id=~"$group"}', topic="topic_name")
    + "))",
    regex='/topic="([^"]*)"/',
)
