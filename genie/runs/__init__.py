"""Run folders, checkpoints, and trained models back from them."""
