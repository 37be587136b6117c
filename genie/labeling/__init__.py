"""Ratings by people: quality of clips, preferences between segments."""
