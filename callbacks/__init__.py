"""Lightning callbacks and loggers: randomness, checkpoints, graceful stops, metrics, media."""
