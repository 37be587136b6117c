"""Memory, operations and time of a training, before it is started."""
