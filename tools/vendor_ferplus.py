"""Make src/mien/assets/ferplus_votes.npz: the FER+ votes of FER2013, keyed by the faces' pixels.

Usage: python -m tools.vendor_ferplus fer2013.parquet src/mien/assets/ferplus_votes.npz

The parquet has all of FER2013's faces in the order of Kaggle's file with their votes (`mien data ferplus --votes
fer2013new.csv --out` writes one); a column `exact`, where it has one, says whose pixels are Kaggle's own.
"""

import argparse
import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mien._utils.files import atomic
from mien.data.known_votes import face_keys
from mien.data.load import load_faces

FACES = 35_887


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    faces = load_faces(options.source, cache=False)
    if faces.votes is None or not np.array_equal(faces.row, np.arange(FACES)):
        raise SystemExit(f"{options.source} is not all of FER2013 with its votes, in Kaggle's order")
    columns = pq.read_schema(options.source).names
    exact = np.ones(FACES, bool)
    if "exact" in columns:
        exact = pq.read_table(options.source, columns=["exact"])["exact"].to_numpy().astype(bool)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, key=face_keys(faces.images), exact=exact, votes=faces.votes)
    data = buffer.getvalue()
    with atomic(options.target) as temporary:
        temporary.write_bytes(data)
    print(f"{options.target}: {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
