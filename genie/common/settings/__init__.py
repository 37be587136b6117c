"""The schema of all keys of the configuration: `schema` checks, the other modules say what there is."""
