"""Folder trees: every regular file once, links and loops included, and what is not read is counted."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data import load_faces
from mien.data.walk import describe_unread, walk_files
from mien.errors import DataError
from mien.inference.inputs import find_images


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def below(root: Path, unread: Counter[str] | None = None) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in walk_files(str(root), unread=unread)]


def test_files_come_sorted_by_path_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/a.png", "a.png", "b.png", "b/c/d.JPG", ".hidden.png", ".git/a.png", "__MACOSX/a.png", "b-1.png"):
        put(tmp_path / name)
    assert below(tmp_path) == ["a.png", "b-1.png", "b.png", "b/a.png", "b/c/d.JPG"]


def test_loops_of_links_end_and_each_file_is_read_once(tmp_path: Path) -> None:
    """One image and a link to its folder used to be 33 rows; two links never ended."""
    put(tmp_path / "photos" / "a.png")
    for name in ("loop", "loop-2"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "up").symlink_to(tmp_path)
    (tmp_path / "photos" / "copy.png").symlink_to("a.png")
    assert below(tmp_path / "photos") == ["a.png"]
    for name in (str(tmp_path / "photos"), str(tmp_path / "photos" / "**" / "*.png")):
        assert [Path(path).name for path in find_images([name, str(tmp_path / "photos" / "a.png")])] == ["a.png"]


def test_links_to_files_and_folders_elsewhere_are_followed_once(tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere" / "b.png").parent
    root = put(tmp_path / "root" / "z.png").parent
    for name in ("link-1", "link-2"):
        (root / name).symlink_to(elsewhere)
    (root / "a.png").symlink_to(elsewhere / "b.png")
    assert below(root) == ["a.png", "z.png"]
    (root / "a.png").unlink()
    assert below(root) == ["link-1/b.png", "z.png"]


def test_a_link_to_what_is_not_found_otherwise_is_followed(tmp_path: Path) -> None:
    """git-annex and the Hub's cache keep the files in hidden folders, under names without an end."""
    put(tmp_path / ".store" / "a1b2")
    put(tmp_path / "blobs" / "c3d4")
    (tmp_path / "a.png").symlink_to(".store/a1b2")
    (tmp_path / "b.png").symlink_to("blobs/c3d4")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    assert below(tmp_path) == ["a.png", "b.png", "gone.png"]


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    put(tmp_path / "a.png")
    unread: Counter[str] = Counter()
    assert below(tmp_path, unread) == ["a.png"]
    assert describe_unread(unread) == "not read: 1 file (no regular file: 1)"
    with pytest.raises(DataError, match=r"pipe\.png: it is no regular file. Save it"):
        load_faces(tmp_path / "pipe.png")


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    for name in ("a.txt", "b.TXT", "c.mp4", "README", "d.png"):
        put(tmp_path / name)
    unread: Counter[str] = Counter()
    assert below(tmp_path, unread) == ["d.png"]
    assert describe_unread(unread) == "not read: 4 files (.txt: 2, no suffix: 1, .mp4: 1)"
    assert describe_unread(Counter()) is None


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        below(tmp_path / "gone")


def test_a_deep_tree(tmp_path: Path) -> None:
    put(tmp_path.joinpath(*["d"] * 300) / "a.png")
    assert len(below(tmp_path)) == 1


NAMES = st.sampled_from(["a", "b", "c.png", "d.png", "e.txt"])
STEP = st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, max_size=3), st.booleans())
STEPS = st.lists(STEP, max_size=12)


@settings(max_examples=150)
@given(STEPS)
def test_any_tree_gives_each_file_once_and_misses_none(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[str], list[str], bool]]
) -> None:
    """Files, folders and links at random: the real images of the tree, each by one path, and nothing else below it."""
    root = tmp_path_factory.mktemp("tree")
    for parts, target, is_link in steps:
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(root.joinpath(*target)) if is_link else path.write_bytes(b"x")
        except OSError:
            continue
    found = [path for path in below(root) if (root / path).exists()]
    real = [os.path.realpath(root / path) for path in found]
    assert len(set(real)) == len(real)
    plain = {str(path) for path in root.rglob("*.png") if path.is_file() and not path.is_symlink()}
    assert plain <= set(real)
    assert found == sorted(found)
