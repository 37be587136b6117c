"""Play of a trained world, in a browser, a terminal or a video."""
