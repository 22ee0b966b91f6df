"""Helpers of several packages: atomic files, reading ahead, the environment of a run."""
