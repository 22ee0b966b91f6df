"""Speed, memory and robustness, measured; `peers/` has the scripts that the benchmarks start as processes of their own.

Run a benchmark from the repository's root: ``python -m benchmarks.NAME``.
"""
