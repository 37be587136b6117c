"""Evaluation of trained runs on held-out episodes: a module for each part (docs/metrics.md defines the metrics)."""
