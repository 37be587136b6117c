"""What training needs and Lightning lacks: counted randomness, safe checkpoints, stopping, loggers."""
