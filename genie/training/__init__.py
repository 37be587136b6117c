"""Trainings: one stage, a pipeline, a sweep, an ablation, an agent's loop."""
