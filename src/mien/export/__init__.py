"""A model in the formats of other runtimes, each verified against the original."""
