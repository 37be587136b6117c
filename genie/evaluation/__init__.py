"""Measuring a run on held-out episodes: one module for each part of the report (docs/metrics.md explains them)."""
