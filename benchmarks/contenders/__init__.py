"""The contenders: programs that consume one topic and report how long that took."""
