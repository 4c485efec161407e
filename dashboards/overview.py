"""The first page: is everything well, and if not, where to look."""

from dashboards.panels import RATE, Dashboard, Panel, Query, Row, one

_STATE = Row(
    "State",
    (
        Panel(
            "Alerts that fire",
            "How many of the rules in deploy/prometheus fire now. 0 is good; the table below names them.",
            one('count(ALERTS{alertname=~"Streams.*", alertstate="firing"}) or vector(0)'),
            kind="stat",
            width=4,
            height=4,
            warn_from=1,
        ),
        Panel(
            "Workers",
            "Worker processes that Prometheus reaches. Red if there is none: then nothing is handled.",
            one("count(count by (job, instance) (streams_partitions_owned)) or vector(0)"),
            kind="stat",
            width=4,
            height=4,
            runbook="metrics-are-absent",
        ),
        Panel(
            "Oldest unsettled event",
            "Age of the oldest record that no worker has finished, over all groups. Retry tiers are left out: their "
            "records wait on purpose.",
            one('max(streams_oldest_unsettled_seconds{topic!~".*[.]retry[.].*"})'),
            unit="s",
            kind="stat",
            width=4,
            height=4,
            warn_from=1800,
            runbook="lag-grows",
            none_text="no worker and no exporter",
        ),
        Panel(
            "Open dead letters",
            "Dead letters that were not replayed. Each is work that was not done.",
            one("sum(max by (topic, handler, reason) (streams_dead_letters_open)) or vector(0)"),
            kind="stat",
            width=4,
            height=4,
            warn_from=1,
            runbook="dead-letters-arrive",
        ),
        Panel(
            "Open breakers",
            "Dependencies that do not answer. Work that needs one of them waits and loses no attempt.",
            one("sum(max by (dependency) (streams_breaker_open)) or vector(0)"),
            kind="stat",
            width=4,
            height=4,
            warn_from=1,
            runbook="breaker-open",
        ),
        Panel(
            "Oldest row of the outbox",
            "How long the oldest event of a committed transaction has waited for the relay.",
            one("max(streams_outbox_oldest_seconds)"),
            unit="s",
            kind="stat",
            width=4,
            height=4,
            warn_from=300,
            runbook="outbox-grows",
            none_text="no active relay",
        ),
    ),
)

_FLOW = Row(
    "Flow",
    (
        Panel(
            "Written and finished",
            "Records written to all topics, and deliveries that ended as a success, a duplicate or a dead letter. If "
            "more is written than finished, lag grows. A topic with two handlers finishes two deliveries per record.",
            (
                Query(
                    f"sum(max by (topic, partition) (rate(kafka_topic_partition_current_offset[{RATE}])))", "written"
                ),
                Query(f'sum(rate(streams_deliveries_total{{outcome=~"success|duplicate|dead"}}[{RATE}]))', "finished"),
            ),
            unit="ops",
        ),
        Panel(
            "Attempts by outcome",
            "success: done. duplicate: was done before. retry: failed and is tried again. deferred: waits, no attempt "
            "counted. dead: given up.",
            one(f"sum by (outcome) (rate(streams_deliveries_total[{RATE}]))"),
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Lag by group",
            "Records that are not settled. A group is a pool: `application.pool`. A peak that falls again is normal.",
            one("sum by (consumergroup) (max by (consumergroup, topic, partition) (kafka_consumergroup_lag))"),
            runbook="lag-grows",
        ),
        Panel(
            "Oldest unsettled event by group",
            "How late the group is: the age of its oldest record, without retry tiers. The alert on late events "
            "compares it with the objective of the pool.",
            one('max by (consumergroup) (streams_oldest_unsettled_seconds{topic!~".*[.]retry[.].*"})'),
            unit="s",
            runbook="lag-grows",
        ),
    ),
)

_TROUBLE = Row(
    "Trouble",
    (
        Panel(
            "Alerts",
            "The alerts that fire or are pending, with their labels.",
            one('ALERTS{alertname=~"Streams.*"}', "since the last evaluation"),
            kind="table",
            none_text="none",
        ),
        Panel(
            "Paused by operators",
            "Handlers, topics and tenants that are paused. Their events wait until they are resumed.",
            one("max by (kind, name) (streams_paused)", "paused"),
            kind="table",
            none_text="nothing is paused",
        ),
        Panel(
            "Groups",
            "Members of each consumer group and its lag. A group with lag and no member is not worked on.",
            (
                Query("max by (consumergroup) (kafka_consumergroup_members)", "members"),
                Query("max by (consumergroup) (kafka_consumergroup_lag_sum)", "lag"),
            ),
            kind="table",
            runbook="metrics-are-absent",
        ),
        Panel(
            "Versions",
            "How many processes run each version. Two versions at a time are normal during an upgrade only.",
            one("count by (version, python, librdkafka, faust) (streams_build_info)", "processes"),
            kind="table",
        ),
    ),
)

OVERVIEW = Dashboard(
    "streams-overview",
    "Streams / Overview",
    "Is everything well, and if not, where to look.",
    (_STATE, _FLOW, _TROUBLE),
)
