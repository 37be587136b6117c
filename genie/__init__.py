"""Genie: a world model that learns to be played from video without action labels (arXiv 2402.15391)."""
