"""What waits to be published, and what runs by the clock."""

from dashboards.panels import RATE, Dashboard, LabelVariable, Panel, Query, Row, counted, one

_SCHEDULE = 'schedule=~"$schedule"'

_OUTBOX = Row(
    "Outbox",
    (
        Panel(
            "Waiting rows",
            "Events of committed transactions that the relay has not sent yet, 100,000 at most. Set aside: Kafka "
            "refused them; `streams outbox retry` sends them again.",
            (
                Query("max(streams_outbox_waiting)", "waiting"),
                Query("max(streams_outbox_set_aside)", "set aside"),
            ),
            runbook="outbox-grows",
            none_text="no active relay and no exporter",
        ),
        Panel(
            "Age of the oldest row",
            "How long the oldest row has waited. A few seconds are normal. It grows while no relay is active or Kafka "
            "does not answer.",
            one("max(streams_outbox_oldest_seconds)", "oldest"),
            unit="s",
            warn_from=300,
            runbook="outbox-grows",
        ),
        Panel(
            "Relayed",
            "Rows per second that Kafka acknowledged, by relay. Only the active one relays.",
            one(f"sum by (instance) (rate(streams_outbox_relayed_total[{RATE}]))"),
            unit="ops",
        ),
        Panel(
            "Rejected",
            "Rows that Kafka rejected and that were set aside, within an hour.",
            one("sum(increase(streams_outbox_failed_total[1h]))", "rejected"),
            warn_from=1,
            runbook="outbox-grows",
        ),
    ),
)

_SCHEDULES = Row(
    "Schedules",
    (
        Panel(
            "Schedules",
            "Each schedule: whether it is enabled, paused or broken (it cannot run), seconds until its next slot "
            "(below 0: it is late), seconds since its last success, and slots missed within 24 hours.",
            (
                Query(f"max by (schedule) (streams_schedule_enabled{{{_SCHEDULE}}})", "enabled"),
                Query(f"max by (schedule) (streams_schedule_paused{{{_SCHEDULE}}})", "paused"),
                Query(f"max by (schedule) (streams_schedule_broken{{{_SCHEDULE}}})", "broken"),
                Query(
                    f"max by (schedule) (streams_schedule_next_slot_timestamp_seconds{{{_SCHEDULE}}}) - time()",
                    "next in",
                    "s",
                ),
                Query(
                    f"time() - max by (schedule) (streams_schedule_last_success_timestamp_seconds{{{_SCHEDULE}}})",
                    "last success ago",
                    "s",
                ),
                Query(f"max by (schedule) (streams_schedule_missed_slots{{{_SCHEDULE}}})", "missed in 24 h"),
            ),
            kind="table",
            width=24,
            height=10,
            runbook="schedule-does-not-run",
        ),
        Panel(
            "Slots by status",
            "Slots within an hour, by what became of them. pending: its event was published. missed: no worker ran in "
            "time. skipped: the run before it had not ended.",
            one(counted("streams_schedule_slots", "status", _SCHEDULE)),
            stacked=True,
            runbook="schedule-does-not-run",
            none_text="none",
        ),
        Panel(
            "Missed slots",
            "Slots of the last 24 hours that no worker ran. `streams schedules backfill` runs them after all.",
            one(f"max by (schedule) (streams_schedule_missed_slots{{{_SCHEDULE}}})"),
            warn_from=1,
            runbook="schedule-does-not-run",
        ),
        Panel(
            "Late slots",
            "Slots that started late, within an hour.",
            one(counted("streams_schedule_slots_late", "schedule", _SCHEDULE)),
            runbook="schedule-does-not-run",
            none_text="none",
        ),
        Panel(
            "Overlapping slots",
            "Slots that came while the run before had not ended, within an hour. The work takes longer than its "
            "interval.",
            one(counted("streams_schedule_slots_overlapping", "schedule", _SCHEDULE)),
            runbook="schedule-does-not-run",
            none_text="none",
        ),
    ),
)

OUTBOX_SCHEDULES = Dashboard(
    "streams-outbox-schedules",
    "Streams / Outbox and schedules",
    "What waits to be published, and what runs by the clock.",
    (_OUTBOX, _SCHEDULES),
    (LabelVariable("schedule", "Schedule", "label_values(streams_schedule_enabled, schedule)"),),
)
