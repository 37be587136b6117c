"""Prompts: what a user gives becomes frames of the model's size."""
