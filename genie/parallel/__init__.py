"""One training on several processes: what starts them, what they share, and how a model is spread over them."""
