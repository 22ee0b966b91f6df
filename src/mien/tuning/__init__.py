"""A search over a recipe's settings. Needs the extras ``train`` and ``sweep``."""

from mien.tuning.search import sweep

__all__ = ["sweep"]
