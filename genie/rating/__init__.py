"""Which of two segments is better? People say so on a page, and a reward model learns from it.

pairs.py     pairs of segments, and what was said of them, in preferences.csv
page.py      the page on which it is said; page/ as it is sent
command.py   `python -m genie.rate`
rated.py     the pairs as a reward model is trained on them
"""
