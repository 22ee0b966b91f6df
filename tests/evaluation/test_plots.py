"""Plots show the numbers that they were given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from mien.data.synthetic import draw_faces
from mien.emotions import LABELS, Emotion
from mien.evaluation import plots
from mien.evaluation.metrics import per_class


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def names_along(axes: Axes, axis: str) -> list[str]:
    labels = axes.get_xticklabels() if axis == "x" else axes.get_yticklabels()
    return [label.get_text() for label in labels]


def widths(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts in one panel, or of the figure, that are drawn over each other."""
    figure.draw_without_rendering()
    pairs = []
    for axes in figure.axes:
        visible = [t for t in axes.texts if t.get_text()]
        boxes = [(t.get_text(), t.get_window_extent()) for t in visible]
        pairs += [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]
    return pairs


def epochs(*phases: tuple[str, int]) -> list[dict[str, Any]]:
    """A history whose validation accuracy peaks at the epoch before the last; the rate falls at every fourth epoch."""
    names = [name for name, count in phases for _ in range(count)]
    return [
        {
            "phase": name,
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "train_accuracy": 1.0 - 0.8 / epoch,
            "val_loss": 2.2 / epoch,
            "val_accuracy": 0.1 if epoch == len(names) else 0.9 - 0.8 / epoch,
            "lr": 0.01 * 0.5 ** (epoch // 4),
        }
        for epoch, name in enumerate(names, start=1)
    ]


def test_examples_show_the_first_faces_of_every_class() -> None:
    faces = draw_faces(50, seed=1)
    figure = plots.examples(faces, per_class=3)
    assert len(figure.axes) == 7 * 3
    for label in Emotion:
        rows = np.flatnonzero(faces.emotion == label)
        first = figure.axes[3 * label]
        assert first.get_ylabel() == f"{label.label}\n({len(rows)})"
        assert np.array_equal(np.asarray(first.images[0].get_array()), faces.images[rows[0]])


def test_examples_of_a_class_with_too_few_faces_leave_gaps() -> None:
    figure = plots.examples(draw_faces(8, seed=1), per_class=5)
    assert sum(len(axes.images) for axes in figure.axes) == 8
    with pytest.raises(ValueError, match="per_class"):
        plots.examples(draw_faces(8, seed=1), per_class=0)


def test_distributions_have_bars_as_high_as_the_counts() -> None:
    left = dict(zip(LABELS, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True))
    right = dict.fromkeys(LABELS, 10)
    figure = plots.label_distributions(left, right, ("Training", "Validation"), "FER2013")
    for axes, counts in zip(figure.axes, (left, right), strict=True):
        assert [bar.get_height() for bar in axes.patches] == list(counts.values())
        assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [emotion.color for emotion in Emotion]
        assert names_along(axes, "x") == list(LABELS)
    assert figure.axes[0].get_title() == "Training (28,709)"
    assert texts(figure.axes[0])[1] == "436\n1.5%"
    assert overlapping(figure) == []


def test_distribution_of_nothing_is_drawn() -> None:
    figure = plots.label_distributions({"a": 0}, {"a": 2}, ("none", "some"))
    assert texts(figure.axes[0]) == ["0\n0.0%"]
    assert figure.axes[0].get_ylim()[0] == 0.0


def test_confusion_cells_have_percentage_and_count() -> None:
    counts = np.array([[30, 10, 0], [0, 1234, 0], [0, 0, 0]])
    figure = plots.confusion_matrix(counts, ("a", "b", "c"), "A title")
    axes = figure.axes[0]
    assert texts(axes)[:4] == ["75.0%", "30", "25.0%", "10"]
    assert texts(axes)[8:10] == ["100.0%", "1,234"]
    assert texts(axes)[-2:] == ["–", "0"]
    assert names_along(axes, "y") == ["a\n(40)", "b\n(1,234)", "c\n(0)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true (faces)")
    assert overlapping(figure) == []
    with pytest.raises(ValueError, match="shape"):
        plots.confusion_matrix(counts, ("a", "b"), "")


def test_history_marks_phases_best_epoch_and_drops() -> None:
    rows = epochs(("head only", 5), ("all layers", 46))
    figure = plots.history(rows, "The title")
    for axes, key in zip(figure.axes, ("loss", "accuracy"), strict=True):
        lines = {str(line.get_label()): line for line in axes.lines}
        assert np.allclose(lines["training"].get_ydata(), [row[f"train_{key}"] for row in rows])
        assert np.allclose(lines["validation"].get_ydata(), [row[f"val_{key}"] for row in rows])
        assert list(lines["learning rate drops"].get_xdata()) == list(range(4, 52, 4))
        best = next(line for name, line in lines.items() if name.startswith("best: epoch 50"))
        assert list(best.get_xdata()) == [50]
        assert list(best.get_ydata()) == [rows[49][f"val_{key}"]]
        assert texts(axes) == ["head only", "all layers"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", key)
    assert overlapping(figure) == []


def test_a_new_phase_is_no_learning_rate_drop() -> None:
    rows = epochs(("head only", 2), ("all layers", 1))
    rows[2]["lr"] = 1e-6
    names = [line.get_label() for line in plots.history(rows, "").axes[0].lines]
    assert "learning rate drops" not in names


def test_history_of_one_epoch_and_of_none() -> None:
    assert texts(plots.history(epochs(("only", 1)), "").axes[0]) == ["only"]
    with pytest.raises(ValueError, match="no epoch"):
        plots.history([], "")


def test_class_bars_have_the_figures() -> None:
    figures = per_class(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ("Happy", "Other"))
    figure = plots.per_class_table(figures, "Every class")
    for axes, key in zip(figure.axes, ("precision", "recall", "f1"), strict=True):
        assert widths(axes) == [dict(figures[name])[key] for name in figures]
    assert names_along(figure.axes[0], "y") == ["Happy (3)", "Other (1)"]
    assert texts(figure.axes[1]) == ["66.7%", "100.0%"]


@pytest.mark.parametrize(("true", "expected"), [("Fear", "true: Fear"), (None, "true: not known")])
def test_face_beside_its_bars(true: str | None, expected: str) -> None:
    image = draw_faces(1).images[0]
    probabilities = np.array([0.0762, 0.001, 0.0306, 0.0014, 0.0554, 0.0056, 0.8298])
    figure = plots.face_and_bars(image, probabilities, LABELS, true, "Number 106")
    left, right = figure.axes
    assert np.array_equal(np.asarray(left.images[0].get_array()), image)
    assert left.get_xlabel() == f"{expected}\npredicted: Neutral"
    assert widths(right) == probabilities.tolist()
    assert texts(right) == ["7.6%", "0.1%", "3.1%", "0.1%", "5.5%", "0.6%", "83.0%"]
    bold = [label.get_text() for label in right.get_yticklabels() if label.get_fontweight() == "bold"]
    assert bold == ([true] if true else [])


def test_what_spoke_for_a_class_lies_over_the_face() -> None:
    image = draw_faces(1).images[0]
    share = np.zeros((48, 48))
    share[10, 20] = 1.0
    figure = plots.face_and_bars(image, np.full(7, 1 / 7), LABELS, None, "", (share, "a note"))
    left, middle, right = figure.axes
    assert len(left.images) == 1
    face, veil = (np.asarray(shown.get_array()) for shown in middle.images)
    assert np.array_equal(face, image)
    assert np.flatnonzero(veil[..., 3]).tolist() == [10 * 48 + 20]
    assert middle.get_xlabel() == "a note"
    assert len(widths(right)) == 7


def test_long_titles_wrap_and_stay_inside() -> None:
    title = "FER2013, PublicTest (the article's test): " + "MobileNet cut at block 12, fine-tuned in two phases, " * 3
    counts: Mapping[str, int] = dict.fromkeys(LABELS, 5)
    figures = [
        plots.confusion_matrix(np.eye(7, dtype=np.int64), LABELS, title),
        plots.label_distributions(counts, counts, ("left", "right"), title),
        plots.face_and_bars(np.zeros((48, 48), np.uint8), np.full(7, 1 / 7), LABELS, None, title),
        plots.history(epochs(("a", 3)), title),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        box = next(t for t in figure.texts if t.get_text().startswith("FER2013")).get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_classes_without_a_colour_of_their_own_differ() -> None:
    found = plots.colors(["Happy", "Contempt", "Boredom"])
    assert found[0] == Emotion.HAPPY.color
    assert len(set(found)) == 3


def test_saved_png_decodes_and_svg_is_the_same_each_time(tmp_path: Path) -> None:
    png, svg, again = tmp_path / "new" / "a.png", tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (png, svg, again):
        plots.save(plots.label_distributions({"a": 1}, {"a": 2}, ("x", "y")), path)
    with Image.open(png) as image:
        assert image.size == (1650, 630)
        assert image.convert("L").getextrema()[0] < 60
    assert b"<svg" in svg.read_bytes()
    assert svg.read_bytes() == again.read_bytes()


def test_other_suffixes_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        plots.save(Figure(), tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []


def test_figures_do_not_pile_up_in_pyplot() -> None:
    before = pyplot.get_fignums()
    plots.history(epochs(("a", 2)), "")
    assert pyplot.get_fignums() == before
