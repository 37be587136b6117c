"""Diagnosis of an installation and its machine: what works here, and what would bring the rest."""
