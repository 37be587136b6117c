"""Prompts of users, converted to frames of the model's size."""
