"""Learning from what a world imagines."""
