"""Sweeps: what became of each job, as a table and a picture in the sweep's folder (docs/sweeps.md)."""
