"""Data sets: reading, caching, drawing and checking faces."""

from mien.data.faces import Faces, Usage
from mien.data.load import load_faces

__all__ = ["Faces", "Usage", "load_faces"]
