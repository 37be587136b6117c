"""File formats: episodes, videos, Minari, streams."""
