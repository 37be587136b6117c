"""File formats: episodes, videos, WebDataset, LeRobot, Minari, streams."""
