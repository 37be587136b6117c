"""One training on several processes: who they are, what starts them, what they share, how a model is spread over them."""
