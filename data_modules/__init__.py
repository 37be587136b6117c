"""Bytes on disk to batches: the episode file, recording, clips. Knows nothing of models."""
