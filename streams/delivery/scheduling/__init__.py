"""Which delivery runs next, and when: lanes, retry tiers, the delay queue."""
