"""What can happen to the partitions of one topic: unknown offsets, a log that begins again, lost rights."""
