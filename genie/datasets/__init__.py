"""What the commands record, replay, convert and inspect do with data on disk."""
