"""Data of any kind into episode files or a stream: recording by recording, in parallel, going on where it stopped."""
