"""Whether a delivery may start now: expiry, pauses, breakers, the database, the crash-loop guard."""
