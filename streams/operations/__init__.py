"""What operators see and do: executions, lag, dead letters, topics, pauses."""
