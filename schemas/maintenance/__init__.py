"""Events of schedules: maintenance at night, monitoring, regular checks."""
