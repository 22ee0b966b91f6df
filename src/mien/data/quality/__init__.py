"""Duplicates, near duplicates, label noise, and the data set without them."""
