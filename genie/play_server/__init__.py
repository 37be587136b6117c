"""Play of a trained world in a browser, in a terminal, or as a video."""
