"""Data on disk to batches of clips: file formats, environments, recording, clips."""
