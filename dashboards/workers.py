"""The processes: what they use, what they own, and how often they change."""

from dashboards.panels import RATE, Dashboard, LabelVariable, Panel, Query, Row, one

_MATCH = 'job=~"$job", instance=~"$instance"'
_LOOP = f"sum by (le, instance) (rate(streams_event_loop_delay_seconds_bucket{{{_MATCH}}}[{RATE}]))"

_PROCESSES = Row(
    "Processor and memory",
    (
        Panel(
            "Processor",
            "Processor seconds per second of each process, and of its compute processes. A worker's own process cannot "
            "use more than about one core.",
            (
                Query(f"sum by (instance) (rate(process_cpu_seconds_total{{{_MATCH}}}[{RATE}]))", "{{instance}}"),
                Query(
                    f"sum by (instance) (rate(streams_compute_processor_seconds_total{{{_MATCH}}}[{RATE}]))",
                    "{{instance}} compute",
                ),
            ),
        ),
        Panel(
            "Memory",
            "Resident memory of each process, and of its compute processes together. The limit of a container must "
            "cover both.",
            (
                Query(f"sum by (instance) (process_resident_memory_bytes{{{_MATCH}}})", "{{instance}}"),
                Query(f"sum by (instance) (streams_compute_memory_bytes{{{_MATCH}}})", "{{instance}} compute"),
            ),
            unit="bytes",
            runbook="worker-restarts",
        ),
        Panel(
            "Delay of the event loop",
            "How late the event loop runs what is due. Handlers that use the processor without awaiting delay all "
            "others; move such work to `work.compute`.",
            (
                Query(f"histogram_quantile(0.5, {_LOOP})", "{{instance}} p50"),
                Query(f"histogram_quantile(0.99, {_LOOP})", "{{instance}} p99"),
            ),
            unit="s",
        ),
        Panel(
            "Compute processes",
            "Processes that run the processor-bound part of handlers. They start on demand.",
            one(f"sum by (instance) (streams_compute_processes{{{_MATCH}}})"),
        ),
        Panel(
            "Restarts",
            "How often each process has started within an hour, after its first start.",
            one(f"sum by (instance) (changes(process_start_time_seconds{{{_MATCH}}}[1h]))"),
            warn_from=3,
            runbook="worker-restarts",
        ),
        Panel(
            "Open files",
            "Open file descriptors of each process as a part of their limit.",
            one(
                f"max by (instance) (process_open_fds{{{_MATCH}}} / process_max_fds{{{_MATCH}}})",
            ),
            unit="percentunit",
            warn_from=0.9,
        ),
    ),
)

_CONNECTIONS = Row(
    "Database connections",
    (
        Panel(
            "Connections",
            "Connections of each engine's pool, in use and idle.",
            one(
                f"sum by (engine, state) (streams_database_connections{{{_MATCH}}})",
                "{{engine}} {{state}}",
            ),
            stacked=True,
        ),
        Panel(
            "Connections in use, of the limit",
            "Near 1, deliveries wait for a connection. Compare with the server's max_connections before raising it.",
            one(
                f'sum by (instance, engine) (streams_database_connections{{state="in_use", {_MATCH}}}) / '
                f"sum by (instance, engine) (streams_database_connections_limit{{{_MATCH}}})",
                "{{instance}} {{engine}}",
            ),
            unit="percentunit",
            warn_from=0.9,
        ),
    ),
)

_GROUPS = Row(
    "Consumer groups",
    (
        Panel(
            "Partitions owned",
            "Partitions of each worker. All workers of a group together must own all of its partitions.",
            one(
                f"sum by (instance, consumergroup) (streams_partitions_owned{{{_MATCH}}})",
                "{{instance}} {{consumergroup}}",
            ),
            stacked=True,
        ),
        Panel(
            "Partitions paused",
            "Partitions whose window is full until records are settled. Short pauses are normal under load.",
            one(
                f"sum by (instance, consumergroup) (streams_partitions_paused{{{_MATCH}}})",
                "{{instance}} {{consumergroup}}",
            ),
            runbook="commits-stall",
        ),
        Panel(
            "Rebalances",
            "Assignments, revocations and losses within ten minutes. Some at each deployment; steadily: a worker joins "
            "and leaves.",
            one(
                f"sum by (instance, consumergroup) (increase(streams_rebalances_total{{{_MATCH}}}[10m]))",
                "{{instance}} {{consumergroup}}",
            ),
            runbook="worker-restarts",
        ),
        Panel(
            "Lost, late, failed",
            "Partitions lost without a revocation, settlements ignored after a revocation, and failed commits, within "
            "ten minutes. Their work is repeated.",
            (
                Query(f"sum(increase(streams_partitions_lost_total{{{_MATCH}}}[10m]))", "partitions lost"),
                Query(f"sum(increase(streams_late_acknowledgements_total{{{_MATCH}}}[10m]))", "late settlements"),
                Query(f"sum(increase(streams_commit_failures_total{{{_MATCH}}}[10m]))", "failed commits"),
            ),
            runbook="commits-stall",
        ),
    ),
)

_EXPORTER = Row(
    "Exporter",
    (
        Panel(
            "Sources",
            "1 while the exporter reaches the source. At 0 the metrics of that source are old or missing.",
            one("min by (source) (streams_exporter_up)"),
            runbook="metrics-are-absent",
        ),
        Panel(
            "Duration of a collection",
            "How long the exporter takes to read each source.",
            one("max by (source) (streams_exporter_collection_seconds)"),
            unit="s",
        ),
    ),
)

WORKERS = Dashboard(
    "streams-workers",
    "Streams / Workers",
    "The processes: what they use, what they own, and how often they change.",
    (_PROCESSES, _CONNECTIONS, _GROUPS, _EXPORTER),
    (
        LabelVariable("job", "Job", "label_values(streams_build_info, job)"),
        LabelVariable("instance", "Instance", 'label_values(streams_build_info{job=~"$job"}, instance)'),
    ),
)
