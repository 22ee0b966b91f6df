"""Read results/*.json, and write a document that is made from them or, with ``--check``, only compare it."""

import argparse
import json
import sys

from benchmarks.report import RESULTS, ROOT
from mien._utils.files import atomic


def check_option(about):
    """Whether ``--check`` was given on the command line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a document is out of date")
    return parser.parse_args().check


def read_result(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def update(path, text, check, module):
    """Write the document; with ``check``, exit with a message where it differs, which says how to make it anew."""
    if check:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.relative_to(ROOT)} is out of date: run python -m {module}")
        return
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
