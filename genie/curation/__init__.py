"""Which clips are worth training on: a few are rated by hand, a head learns from them, every clip gets a quality.

footage.py   a data set cut into windows
signals.py   what is measured of a window without ratings
pictures.py  what a network that knows photographs sees in it
choosing.py  which windows to rate, so that few ratings tell much
ratings.py   the ratings, in labels.csv
page.py      the page on which they are given; page/ as it is sent
head.py      from features to a quality, and how well that is known
scoring.py   windows in numbers; quality.csv
command.py   `python -m genie.curate`: the steps
"""
