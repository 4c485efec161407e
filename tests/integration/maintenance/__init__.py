"""Events of schedules, on the servers of the tests."""
