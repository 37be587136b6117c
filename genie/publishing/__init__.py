"""Exports, dashboards and reports of runs."""
