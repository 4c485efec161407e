"""Who is behind, by how much, since when, and until when."""

from dashboards.exporter_names import (
    GROUP,
    LAG_BY_GROUP,
    LAG_BY_PARTITION,
    LAG_BY_TOPIC,
    NAMES,
    RATE_IN,
    RATE_OUT,
    STALLED,
    TOPIC,
    UNTIL_EMPTY,
)
from dashboards.panels import Dashboard, Panel, Row, one

_AGE = 'streams_oldest_unsettled_seconds{consumergroup=~"$group", topic=~"$topic"}'

_LAG = Row(
    "Lag",
    (
        Panel(
            "Lag by group",
            "Records that are not settled, over all topics of the group.",
            one(LAG_BY_GROUP),
            runbook="lag-grows",
        ),
        Panel(
            "Age by group",
            "Age of the oldest unsettled record. It is exact: the timestamp of the record at the settled offset. A "
            "record of a retry tier waits for its delay.",
            one(f"max by (consumergroup) ({_AGE})"),
            unit="s",
            runbook="lag-grows",
        ),
        Panel(
            "Lag by topic",
            "Records that are not settled, by group and topic. Only the topics with lag are shown.",
            one(f"topk(20, {LAG_BY_TOPIC})", "{{consumergroup}} {{topic}}"),
        ),
        Panel(
            "Age by topic",
            "Age of the oldest unsettled record, by group and topic.",
            one(f"topk(20, max by (consumergroup, topic) ({_AGE}))", "{{consumergroup}} {{topic}}"),
            unit="s",
        ),
        Panel(
            "Records without a handler",
            "Records in topics that no handler reads. They wait until a handler is deployed or their retention ends. "
            "They raise no alert and start no workers.",
            one("max by (topic) (streams_records_without_handler)", "{{topic}}"),
            width=24,
            none_text="every topic has a handler",
        ),
    ),
)

_RATES = Row(
    "Rates",
    (
        Panel(
            "Rate in",
            "Records written per second, by topic.",
            one(f"topk(20, {RATE_IN})", "{{topic}}"),
            unit="ops",
        ),
        Panel(
            "Rate out",
            "Records settled per second, by group and topic. Below the rate in, the lag grows.",
            one(f"topk(20, {RATE_OUT})", "{{consumergroup}} {{topic}}"),
            unit="ops",
        ),
        Panel(
            "Time until empty",
            "How long the lag lasts if both rates stay. 0: nothing waits. A topic without a value does not shrink.",
            one(UNTIL_EMPTY, "{{consumergroup}} {{topic}}"),
            unit="s",
        ),
        Panel(
            "Time until retention deletes",
            "Seconds until the topic's retention deletes the oldest unsettled record. At 0 events are lost. Topics "
            "where nothing waits have no value.",
            one(
                'min by (consumergroup, topic) (streams_retention_remaining_seconds{consumergroup=~"$group", '
                'topic=~"$topic"})',
                "{{consumergroup}} {{topic}}",
            ),
            unit="s",
            runbook="retention-at-risk",
            none_text="nothing waits",
        ),
    ),
)

_PARTITIONS = Row(
    "Partitions",
    (
        Panel(
            "Stalled commits",
            "Partitions with lag whose committed offset has not moved for 15 minutes. In a retry tier this is normal: "
            "its records wait for their delay.",
            one(f"({STALLED})", "{{consumergroup}} {{topic}}"),
            runbook="commits-stall",
            warn_from=1,
        ),
        Panel(
            "Members",
            "Members of each group, as Kafka reports them. 0: no worker has the pool.",
            one(
                'max by (consumergroup) (${names}_consumergroup_members{consumergroup=~"$group"} or label_replace('
                '${names}_consumer_group_members{group_id=~"$group"}, "consumergroup", "$1", "group_id", "(.*)"))'
            ),
            runbook="metrics-are-absent",
        ),
        Panel(
            "Lag by partition",
            "The partitions with the most lag. If one partition of a topic stands out, one key has most of the events.",
            one(f"topk(50, {LAG_BY_PARTITION})", "lag"),
            kind="table",
        ),
        Panel(
            "Deleted before they were read",
            "Offsets that retention deleted before a worker read them. Each is an event that was lost.",
            one(
                'sum by (consumergroup, topic) (streams_offsets_deleted_unread_total{consumergroup=~"$group", '
                'topic=~"$topic"})',
                "{{consumergroup}} {{topic}}",
            ),
            runbook="retention-at-risk",
            none_text="none",
        ),
    ),
)

_CLUSTER = Row(
    "Cluster",
    (
        Panel(
            "Brokers",
            "Brokers of the cluster, as the exporter sees them.",
            one("max(kafka_brokers)"),
            kind="stat",
            width=6,
        ),
        Panel(
            "Under-replicated partitions",
            "Partitions with fewer replicas in sync than declared. Writes may stop when a further broker fails.",
            one(
                "sum by (topic) (max by (topic, partition) "
                '(kafka_topic_partition_under_replicated_partition{topic=~"$topic"}))'
            ),
            width=9,
            warn_from=1,
        ),
        Panel(
            "Records kept",
            "Records between the oldest offset that is kept and the end, by topic.",
            one(
                "topk(20, sum by (topic) ("
                'max by (topic, partition) (kafka_topic_partition_current_offset{topic=~"$topic"}) '
                '- max by (topic, partition) (kafka_topic_partition_oldest_offset{topic=~"$topic"})))'
            ),
            width=9,
        ),
    ),
)

CONSUMER_LAG = Dashboard(
    "streams-consumer-lag",
    "Streams / Consumer lag",
    "Who is behind, by how much, since when, and until when.",
    (_LAG, _RATES, _PARTITIONS, _CLUSTER),
    (NAMES, GROUP, TOPIC),
)
