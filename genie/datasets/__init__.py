"""Recording, replay, conversion and inspection of data sets on disk."""
