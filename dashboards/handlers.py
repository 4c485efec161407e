"""What each handler does, how fast, how often it fails, and where the time goes."""

from dashboards.panels import RATE, Dashboard, LabelVariable, Panel, Query, Row, counted, one, quantiles

_MATCH = 'consumergroup=~"$group", topic=~"$topic", handler=~"$handler"'
_ATTEMPTS = f"sum by (handler) (rate(streams_deliveries_total{{{_MATCH}}}[{RATE}]))"


def _share(outcomes: str) -> str:
    """Return the share of a handler's attempts that have one of these outcomes; 0 if none has."""
    some = f'sum by (handler) (rate(streams_deliveries_total{{{_MATCH}, outcome=~"{outcomes}"}}[{RATE}]))'
    return f"({some} or 0 * {_ATTEMPTS}) / ({_ATTEMPTS} > 0)"


_RATES = Row(
    "Rate and failures",
    (
        Panel("Attempts", "Attempts per second, whatever their outcome.", one(_ATTEMPTS), unit="ops"),
        Panel(
            "Outcomes",
            "Attempts per second by outcome, over the chosen handlers.",
            one(f"sum by (outcome) (rate(streams_deliveries_total{{{_MATCH}}}[{RATE}]))"),
            unit="ops",
            stacked=True,
        ),
        Panel(
            "Share that fails",
            "The part of the attempts that end in a retry or a dead letter.",
            one(_share("retry|dead")),
            unit="percentunit",
            runbook="retry-storm",
        ),
        Panel(
            "Share that waits or was done before",
            "The part of the attempts that are deferred (a pause, an open breaker) or duplicates. Neither runs.",
            one(_share("deferred|duplicate")),
            unit="percentunit",
        ),
        Panel(
            "Retries",
            "Records that were sent to a retry tier within five minutes.",
            one(counted("streams_retries", "handler", 'handler=~"$handler"', minutes=5)),
            runbook="retry-storm",
            none_text="none",
        ),
        Panel(
            "Dead letters",
            "Records sent to a DLQ within the last hour, by handler and reason. An empty handler: the record could "
            "not be decoded.",
            one(
                counted("streams_dead_letters", "handler, reason", 'topic=~"$topic", handler=~"$handler"'),
                "{{handler}} {{reason}}",
            ),
            runbook="dead-letters-arrive",
            none_text="none",
        ),
    ),
)

_TIMES = Row(
    "Time",
    (
        Panel(
            "Duration of a run",
            "How long a run of the handler takes. A batch is one run.",
            quantiles("streams_delivery_duration_seconds", _MATCH, "handler"),
            unit="s",
        ),
        Panel(
            "Age of an event at its end",
            "Time from occurred_at until the delivery ended, as a success or a dead letter: what the user waits for.",
            quantiles("streams_event_age_seconds", _MATCH, "handler"),
            unit="s",
        ),
        Panel(
            "Where the time goes",
            "Seconds spent per second in each stage. decode: fetched until decoded. wait: until its lane is free. run: "
            "in the handler. commit: until its transaction is committed. settle: until its offset is settled.",
            one(
                'sum by (stage) (rate(streams_delivery_stage_seconds_sum{consumergroup=~"$group", '
                f'handler=~"$handler"}}[{RATE}]))'
            ),
            unit="s",
            stacked=True,
        ),
        Panel(
            "Stages, percentiles",
            "How long each stage takes. A long wait with a short run means that the pool is too small or one key has "
            "most events.",
            quantiles("streams_delivery_stage_seconds", 'consumergroup=~"$group", handler=~"$handler"', "stage"),
            unit="s",
        ),
        Panel(
            "Durations",
            "The distribution of the durations of the chosen handlers.",
            one(f"sum by (le) (increase(streams_delivery_duration_seconds_bucket{{{_MATCH}}}[{RATE}]))", "{{le}}"),
            kind="heatmap",
        ),
        Panel(
            "Processor time",
            "Processor seconds per second, compute processes included. 1 is one core.",
            one(f"sum by (handler) (rate(streams_delivery_processor_seconds_total{{{_MATCH}}}[{RATE}]))"),
            unit="short",
        ),
    ),
)

_LIMITS = Row(
    "Limits",
    (
        Panel(
            "Running and waiting, by pool",
            "Deliveries that run, and those in the window that do not. If as many run as the pool's concurrency, the "
            "pool is full.",
            (
                Query('sum by (pool) (streams_deliveries_in_flight{pool=~"$pool"})', "{{pool}} running"),
                Query('sum by (pool) (streams_deliveries_waiting{pool=~"$pool"})', "{{pool}} waiting"),
            ),
            runbook="lag-grows",
        ),
        Panel(
            "Leases lost",
            "Long deliveries whose lease expired while they ran, within an hour. Another worker took them over.",
            one(counted("streams_leases_lost", "handler", 'handler=~"$handler"')),
            none_text="none",
        ),
        Panel(
            "Drains that met their bound",
            "Work that did not end in time when a worker stopped or lost a partition, by kind of work.",
            one(counted("streams_drains_exceeded", "work")),
            none_text="none",
        ),
        Panel(
            "Out of order",
            "First attempts of a key that started out of offset order. Without retries this must be 0.",
            one(counted("streams_deliveries_out_of_order", "handler", _MATCH)),
            warn_from=1,
            runbook="events-out-of-order",
            none_text="none",
        ),
    ),
)

HANDLERS = Dashboard(
    "streams-handlers",
    "Streams / Handlers",
    "What each handler does, how fast, how often it fails, and where the time goes.",
    (_RATES, _TIMES, _LIMITS),
    (
        LabelVariable("group", "Group", "label_values(streams_deliveries_total, consumergroup)"),
        LabelVariable("topic", "Topic", 'label_values(streams_deliveries_total{consumergroup=~"$group"}, topic)'),
        LabelVariable(
            "handler",
            "Handler",
            'label_values(streams_deliveries_total{consumergroup=~"$group", topic=~"$topic"}, handler)',
        ),
        LabelVariable("pool", "Pool", "label_values(streams_deliveries_in_flight, pool)"),
    ),
)
