"""Scoring collections that need hours or many machines: chunks of rows in, parquet out, each row exactly once.

``mien score`` is its command, :func:`mien.batch.job.score` its function.
"""
