"""Variants of a world, trained on what they have in common and compared in a table."""
