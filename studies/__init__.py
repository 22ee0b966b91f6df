"""Accuracy: what changes to a recipe, to the data or to the cropping of a face do.

Run a study from the repository's root: ``python -m studies.NAME``.
"""
