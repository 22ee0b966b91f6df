"""Makers of the tables, pages and images of the documents, and of the shipped files.

Run a tool from the repository's root: ``python -m tools.NAME``.
"""
