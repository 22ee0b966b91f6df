"""The HTML report of a model on a data set."""
