"""Judgements of people: quality of clips, preferences between segments."""
