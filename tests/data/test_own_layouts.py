"""Data sets of other classes than the seven emotions: names, order, splits, layouts."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data import Faces, load_faces
from mien.data.classes import RESERVED, Classes, class_key
from mien.data.faces import USAGES, Usage
from mien.data.quality.checks import find_copies
from mien.data.splits import SHARE, split_faces, with_splits
from mien.data.writers import convert_faces
from mien.emotions import LABELS
from mien.errors import BadRowError, DataError
from mien.inference import Prediction, recording
from support.custom_classes import draw_own, put_image, put_own


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 48, 48), dtype=np.uint8)


def own_faces(n: int, classes: int, seed: int = 0) -> Faces:
    """Noise of several classes, all of it Training."""
    emotion = np.random.default_rng(seed).permutation(np.arange(n) % classes)
    labels = tuple(f"class {number}" for number in range(classes))
    return Faces(noise(n, seed), emotion, np.zeros(n, np.uint8), np.arange(n), name="own", labels=labels)


def test_folders_name_the_classes_in_alphabetical_order(tmp_path: Path) -> None:
    put_own(tmp_path, draw_own(("talking", "calm", "big smile"), 8))
    faces = load_faces(tmp_path)
    assert faces.labels == ("big smile", "calm", "talking")
    assert faces.label_counts() == {"big smile": 8, "calm": 8, "talking": 8}
    reloaded = load_faces(tmp_path)
    assert (reloaded.labels, reloaded.notes, reloaded.fingerprint) == (faces.labels, faces.notes, faces.fingerprint)


def test_a_file_lists_them_in_another_order_and_with_emotions_among_them(tmp_path: Path) -> None:
    put_own(tmp_path, draw_own(("happy", "bored", "sad"), 6))
    with pytest.raises(BadRowError, match=r"'bored' is none of the seven emotions .* into classes\.txt"):
        load_faces(tmp_path)
    (tmp_path / "classes.txt").write_text("sad\nhappy\n\nbored\n")
    assert load_faces(tmp_path).labels == ("sad", "happy", "bored")
    (tmp_path / "classes.txt").write_text("sad\nhappy\n")
    with pytest.raises(BadRowError, match=r"bored/.*: 'bored' is none of the classes \(sad, happy\)"):
        load_faces(tmp_path)


def test_spellings_that_differ_in_case_or_accents_are_one_class(tmp_path: Path) -> None:
    images = noise(4)
    folders = ("train/Überrascht", f"test/{unicodedata.normalize('NFD', 'überrascht')}", "train/笑顔", "test/笑顔")
    for image, folder in zip(images, folders, strict=True):
        put_image(tmp_path / folder / "a.png", image)
    faces = load_faces(tmp_path, make_splits=False)
    assert faces.labels == ("Überrascht", "笑顔")
    assert faces.emotion.tolist() == [0, 1, 0, 1] or sorted(faces.emotion) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("calm", "error"), "cannot be called 'error'"),
        (("calm", "Uncertain"), "cannot be called 'Uncertain'"),
        (("resting", "testing"), "cannot be called 'testing', which is a split"),
        (("calm", "c" * 61), "at most 60 printable characters"),
    ],
)
def test_names_that_cannot_be_used(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    put_own(tmp_path, {name: list(noise(3)) for name in names})
    with pytest.raises(DataError, match=words):
        load_faces(tmp_path)


def test_columns_of_tables_are_no_names_of_classes() -> None:
    """A class of such a name would overwrite the column in the rows of predictions."""
    columns = {*Prediction("", 0, 0).to_rows()[0], *recording.columns(()), "uncertain"}
    assert columns <= RESERVED


@pytest.mark.parametrize("text", ["calm\n", "", "calm\ncalm \n", b"\xff\xfe\x00"])
def test_a_list_that_is_none(tmp_path: Path, text: str | bytes) -> None:
    put_own(tmp_path, {"calm": list(noise(3)), "tense": list(noise(3, 1))})
    (tmp_path / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"classes\.txt"):
        load_faces(tmp_path)


@settings(max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=70), max_size=5))
def test_any_names_are_taken_whole_or_refused(names: list[str]) -> None:
    try:
        classes = Classes(tuple(names), Path("here"))
    except DataError:
        return
    assert [classes.index(name) for name in classes.names] == list(range(len(names)))
    assert len({class_key(name) for name in names}) == len(names) > 1


def test_splits_are_made_where_a_folder_has_none(tmp_path: Path) -> None:
    own = {name: list(noise(40, seed)) for seed, name in enumerate(("calm", "talking"))}
    own["calm"] += own["calm"][:5]
    put_own(tmp_path / "one", own)
    faces = load_faces(tmp_path / "one")
    for label in range(2):
        usage = faces.usage[faces.emotion == label]
        counts = {str(split): int((usage == i).sum()) for i, split in enumerate(USAGES)}
        assert counts["PublicTest"] == counts["PrivateTest"] == round(SHARE * len(usage))
    assert "made PublicTest (15% of each class) and PrivateTest" in faces.notes[0]
    training = faces.select("Training")
    assert faces.select("test").clean(training).all()
    for i, (name, images) in enumerate(own.items()):  # other names in another order
        for number, image in enumerate(reversed(images)):
            put_image(tmp_path / "two" / name / f"{i}-{number:03}.png", image)
    other = load_faces(tmp_path / "two")
    split_of = [dict(zip(map(bytes, one.images), one.usage, strict=True)) for one in (faces, other)]
    assert split_of[0] == split_of[1]


def test_every_layout_without_splits_gets_the_same_ones(tmp_path: Path) -> None:
    put_own(tmp_path / "flat", {"happy": list(noise(20)), "sad": list(noise(20, 1))})
    assert load_faces(tmp_path / "flat").splits() == {"Training": 28, "PublicTest": 6, "PrivateTest": 6}
    assert load_faces(tmp_path / "flat").labels == LABELS
    plain = load_faces(tmp_path / "flat", make_splits=False)
    assert plain.splits() == {"Training": 40}
    put_own(tmp_path / "named" / "train", {"happy": list(noise(20)), "sad": list(noise(20, 1))})
    for suffix, layout in ((".csv", "csv"), (".parquet", "parquet"), (".npz", None)):
        if layout is None:
            np.savez(tmp_path / "plain.npz", images=plain.images, emotion=plain.emotion, usage=np.full(40, "Training"))
        else:
            convert_faces(plain, tmp_path / f"plain{suffix}", layout)
    split_of = [
        dict(zip(map(bytes, one.images), one.usage, strict=True))
        for one in map(load_faces, (tmp_path / "flat", tmp_path / "named", *tmp_path.glob("plain.*")))
    ]
    assert len(split_of) == 5
    assert all(one == split_of[0] for one in split_of)


def test_a_class_of_too_few_images_leaves_a_set_without_splits(tmp_path: Path) -> None:
    for seed, names in enumerate((("happy", "sad"), ("calm", "tense"))):
        put_own(tmp_path / names[0], {names[0]: list(noise(9)), names[1]: list(noise(2, seed + 1))})
        faces = load_faces(tmp_path / names[0])
        assert faces.splits() == {"Training": 11}
        assert "without PublicTest and PrivateTest, and none made: the class" in faces.notes[0]


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "test")):
        put_own(tmp_path / split, {"calm": list(noise(20, seed)), "tense": list(noise(20, seed + 9))})
    faces = load_faces(tmp_path)
    assert faces.splits() == {"Training": 34, "PublicTest": 6, "PrivateTest": 40}
    put_own(tmp_path / "val", {"calm": list(noise(4, 5)), "tense": list(noise(4, 6))})
    assert load_faces(tmp_path).splits() == {"Training": 40, "PublicTest": 8, "PrivateTest": 40}


def test_near_duplicates_stay_on_one_side() -> None:
    """A crop that is moved by two pixels is the same person in the same moment."""
    drawn = np.concatenate([np.asarray(images) for images in draw_own(("a", "b"), 20).values()])
    moved = np.roll(drawn, 2, axis=2)
    faces = Faces(np.concatenate([drawn, moved]), np.tile(np.arange(40) // 20, 2), np.zeros(80, np.uint8),
                  np.arange(80), name="pairs", labels=("a", "b"))  # fmt: skip
    found = with_splits(faces)
    near = find_copies(faces.images).near
    assert all(len(set(found.usage[near == group])) == 1 for group in np.unique(near))
    assert "near duplicates stay on one side" in found.notes[0]


def test_frames_of_a_film_are_split_all_the_same_with_a_note() -> None:
    base = np.asarray(draw_own(("a",), 1)["a"][0], np.int16)
    images = np.stack([np.clip(base + number, 0, 255) for number in range(-20, 20)]).astype(np.uint8)
    faces = Faces(images, np.arange(40) % 2, np.zeros(40, np.uint8), np.arange(40), labels=("a", "b"))
    found = with_splits(faces)
    assert set(found.splits()) == {"Training", "PublicTest", "PrivateTest"}
    assert "figures will flatter" in found.notes[0]


@settings(max_examples=40)
@given(st.integers(6, 60), st.integers(2, 5), st.integers(0, 3))
def test_every_class_is_in_every_split(n: int, classes: int, seed: int) -> None:
    faces = own_faces(n, classes, seed)
    if min(faces.label_counts().values()) < 3:
        with pytest.raises(DataError, match="too few different images"):
            with_splits(faces)
        return
    found = with_splits(faces, seed=seed)
    for split in found.splits():
        assert set(found.select(split).emotion) == set(range(classes))
    assert len(found.splits()) == 3


def test_asking_for_splits(tmp_path: Path) -> None:
    faces = own_faces(60, 3)
    found = split_faces(faces, 0.2, 0.1, seed=4)
    assert found.splits() == {"Training": 42, "PublicTest": 12, "PrivateTest": 6}
    other = split_faces(faces, 0.2, 0.1, seed=5)
    assert other.splits() == found.splits()
    assert (other.usage != found.usage).any()
    with pytest.raises(DataError, match="all splits already"):
        split_faces(found)
    assert split_faces(found, reassign=True).usage.tolist() == with_splits(faces).usage.tolist()
    with pytest.raises(DataError, match="leave nothing"):
        split_faces(faces, 0.5, 0.5)


@pytest.mark.parametrize("layout", ["folder", "parquet"])
def test_layouts_keep_classes_their_order_and_splits(tmp_path: Path, layout: str) -> None:
    faces = with_splits(own_faces(30, 3))
    labels = ("Sad", "a b/c" if layout == "parquet" else "a b", "Ähm")
    faces = Faces(faces.images, faces.emotion, faces.usage, faces.row, name="x", labels=labels)
    reloaded = load_faces(convert_faces(faces, tmp_path / f"x.{layout}", layout))
    assert reloaded.labels == labels
    assert reloaded.splits() == faces.splits()
    order = [[bytes(image) for image in one.images] for one in (faces, reloaded)]
    assert sorted(zip(order[0], faces.emotion, faces.usage, strict=True)) == sorted(
        zip(order[1], reloaded.emotion, reloaded.usage, strict=True)
    )


@pytest.mark.parametrize("layout", ["csv", "old-csv"])
def test_tables_have_no_room_for_other_classes(tmp_path: Path, layout: str) -> None:
    with pytest.raises(DataError, match="room for the seven emotions only, not for class 0, class 1"):
        convert_faces(own_faces(6, 2), tmp_path / "x.csv", layout)


def test_the_names_of_classes_count_in_the_fingerprint() -> None:
    faces = own_faces(6, 2)
    other = Faces(faces.images, faces.emotion, faces.usage, faces.row, labels=("class 0", "another"))
    assert faces.fingerprint != other.fingerprint
    assert Usage.TRAINING in faces.splits()


@pytest.mark.parametrize("source", ["folder", "list"])
def test_whole_photos_are_noted_once(tmp_path: Path, source: str) -> None:
    """They were squeezed to 48x48 without a word; face crops of ordinary sizes are none."""
    sizes = [(48, 48), (96, 96), (178, 218), (224, 224), (512, 512)]
    for number, size in enumerate(sizes):
        for name in ("calm", "smiling"):
            put_image(tmp_path / "set" / name / f"a{number}.png", noise(1, number)[0], "RGB", size)
    path = tmp_path / "set"
    if source == "list":
        path = path / "list.csv"
    for photos in ([], [(640, 480)], [(640, 480), (600, 600), (65, 48)]):
        for number, size in enumerate(photos):
            put_image(tmp_path / "set" / "calm" / f"b{number}.png", noise(1, 9)[0], "RGB", size)
        listed = sorted(image.relative_to(tmp_path / "set") for image in (tmp_path / "set").rglob("*.png"))
        (tmp_path / "set" / "list.csv").write_text("".join(["path,label\n", *(f"{i},{i.parent}\n" for i in listed)]))
        for _ in range(2):  # the second time from the cache
            notes = [note for note in load_faces(path, make_splits=False).notes if "mien data crop" in note]
            start = f"{len(photos)} of {10 + len(photos)} images are far from square or large"
            assert [note.startswith(start) and "calm/b0.png: 640x480" in note for note in notes] == [True] * bool(
                photos
            )
