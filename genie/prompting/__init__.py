"""Where a rollout begins: what a user gives becomes frames of the model's size. docs/prompts.md shows how.

prompter.py    which of these a prompt is
prompts.py     pictures, videos and arrays
pictures.py    files of pictures
videos.py      files of videos
rates.py       what moves, at another rate
fitting.py     another size and shape
sketches.py    drawings
palette.py     the colours of a world's data
text.py        texts, by any model
diffusion.py   texts, by the package diffusers
clips.py       the data that a run was trained on
"""
