"""What failed: retries that wait, dead letters by cause, and what holds work up."""

from dashboards.panels import RATE, Dashboard, LabelVariable, Panel, Query, Row, counted, one

_RETRY_TOPICS = 'topic=~".*[.]retry[.].*"'
_DEAD = 'topic=~"$topic", handler=~"$handler", reason=~"$reason"'

_ATTEMPTS = f'sum by (handler) (rate(streams_deliveries_total{{handler=~"$handler"}}[{RATE}]))'
_RETRIED = f'sum by (handler) (rate(streams_deliveries_total{{outcome="retry", handler=~"$handler"}}[{RATE}]))'

_RETRIES = Row(
    "Retries",
    (
        Panel(
            "Retries by tier",
            "Records that were sent to each tier within five minutes. A later tier means that more attempts failed.",
            one(counted("streams_retries", "tier", 'handler=~"$handler"', minutes=5)),
            stacked=True,
            runbook="retry-storm",
            none_text="none",
        ),
        Panel(
            "Retries per attempt",
            "The part of the attempts that end in a retry, by handler. Above one half for long, it is a retry storm.",
            one(f"({_RETRIED} or 0 * {_ATTEMPTS}) / ({_ATTEMPTS} > 0)"),
            unit="percentunit",
            warn_from=0.5,
            runbook="retry-storm",
            none_text="none",
        ),
        Panel(
            "Records in retry tiers",
            "Records that wait in a retry tier for their next attempt.",
            one(
                "sum by (topic) (max by (consumergroup, topic, partition) "
                f"(kafka_consumergroup_lag{{{_RETRY_TOPICS}}}))"
            ),
        ),
        Panel(
            "Age in retry tiers",
            "Age of the oldest record of each tier. Much more than the delay in its name: the tier is behind.",
            one(f"max by (topic) (streams_oldest_unsettled_seconds{{{_RETRY_TOPICS}}})"),
            unit="s",
            runbook="lag-grows",
        ),
    ),
)

_DEAD_LETTERS = Row(
    "Dead letters",
    (
        Panel(
            "Open dead letters",
            "Dead letters that were not replayed, by reason. `streams dlq list` shows them.",
            one(f"sum by (reason) (max by (topic, handler, reason) (streams_dead_letters_open{{{_DEAD}}}))"),
            stacked=True,
            runbook="dead-letters-arrive",
            none_text="none",
        ),
        Panel(
            "Arrivals against last week",
            "Dead letters of an hour, and of the same hour a week before. The alert fires where the first is far above "
            "the second.",
            (
                Query("sum(streams:dead_letters:increase1h) or vector(0)", "this hour"),
                Query("sum(streams:dead_letters:increase1h offset 1w) or vector(0)", "the same hour last week"),
            ),
            runbook="dead-letters-arrive",
        ),
        Panel(
            "By topic, handler and reason",
            "One reason and one handler usually mean one cause.",
            one(f"max by (topic, handler, reason) (streams_dead_letters_open{{{_DEAD}}}) > 0", "open"),
            kind="table",
            runbook="dead-letters-arrive",
            none_text="none",
        ),
        Panel(
            "Sent to DLQs",
            "Dead letters within five minutes by handler and reason, as workers send them.",
            one(counted("streams_dead_letters", "handler, reason", _DEAD, minutes=5), "{{handler}} {{reason}}"),
            none_text="none",
        ),
    ),
)

_HELD = Row(
    "What holds work up",
    (
        Panel(
            "Breakers",
            "1 while a dependency does not answer. The work that needs it waits and loses no attempt.",
            one("max by (dependency) (streams_breaker_open)"),
            warn_from=1,
            runbook="breaker-open",
        ),
        Panel(
            "Deferred",
            "Attempts per second that were put off without being counted, because of a pause or an open breaker.",
            one(
                f'sum by (handler) (rate(streams_deliveries_total{{outcome="deferred", handler=~"$handler"}}[{RATE}]))'
            ),
            unit="ops",
            runbook="breaker-open",
            none_text="none",
        ),
        Panel(
            "Crash suspects",
            "Records that run alone since a process died while they ran. After two more crashes each is a dead letter.",
            one("max by (consumergroup) (streams_crash_suspects)"),
            warn_from=1,
            runbook="worker-restarts",
        ),
        Panel(
            "Unreadable topics",
            "1 while a topic cannot be read: a missing right, or a topic that was deleted.",
            one("max by (consumergroup, topic) (streams_topic_unreadable)", "{{consumergroup}} {{topic}}"),
            warn_from=1,
            runbook="commits-stall",
            none_text="none",
        ),
    ),
)

DEAD_LETTERS = Dashboard(
    "streams-dead-letters",
    "Streams / Retries and dead letters",
    "What failed: retries that wait, dead letters by cause, and what holds work up.",
    (_RETRIES, _DEAD_LETTERS, _HELD),
    (
        LabelVariable("topic", "Topic", "label_values(streams_dead_letters_open, topic)"),
        LabelVariable("handler", "Handler", "label_values(streams_deliveries_total, handler)"),
        LabelVariable("reason", "Reason", "label_values(streams_dead_letters_open, reason)"),
    ),
)
