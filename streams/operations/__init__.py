"""Operations on a running deployment: lag, executions, dead letters, pauses, and the topics on the cluster."""
