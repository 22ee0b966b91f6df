"""A search over a recipe's settings. Needs the extras ``train`` and ``sweep``.

It stands beside the folders, as :mod:`mien.pipeline` does: it joins training to evaluation.
"""

from mien.sweep.search import SweepOptions, sweep

__all__ = ["SweepOptions", "sweep"]
