"""The seven emotions: their order, names and colours, and other data sets' words for them; a model's outputs."""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum


class Emotion(IntEnum):
    """FER2013's seven classes; the value is the label in its files and the index in every probability vector."""

    ANGRY = 0
    DISGUST = 1
    FEAR = 2
    HAPPY = 3
    SAD = 4
    SURPRISE = 5
    NEUTRAL = 6

    @property
    def label(self) -> str:
        """The name as people read it, such as ``"Angry"``."""
        return self.name.capitalize()

    @property
    def color(self) -> str:
        """A colour for plots, the same everywhere, as ``"#rrggbb"``; readable on light and dark ground."""
        return _COLORS[self]

    @classmethod
    def from_word(cls, word: str) -> Emotion:
        """Read a class from a number or from the words that data sets use, in any case.

        Raises:
            ValueError: where the word is none of the seven.
        """
        key = word.strip().lower()
        if key in _WORDS:
            return _WORDS[key]
        raise ValueError(f"{word!r} is none of the seven emotions ({', '.join(e.label for e in cls)})")


_COLORS = {
    Emotion.ANGRY: "#d1495b",
    Emotion.DISGUST: "#6a994e",
    Emotion.FEAR: "#8367c7",
    Emotion.HAPPY: "#e0a100",
    Emotion.SAD: "#3d7ea6",
    Emotion.SURPRISE: "#e07a3f",
    Emotion.NEUTRAL: "#8a8d91",
}

_OWN_COLORS = ("#4c72b0", "#c44e52", "#55a868", "#8172b3", "#ccb974", "#64b5cd", "#937860", "#da8bc3")
"""Colours of other classes, in turn."""


def class_color(name: str, index: int) -> str:
    """The colour of a class, as ``"#rrggbb"``: the emotion's own, or one of a fixed palette.

    Args:
        name: the class's name.
        index: the class's index, from 0.
    """
    return _COLOR_OF_LABEL.get(name, _OWN_COLORS[index % len(_OWN_COLORS)])


_COLOR_OF_LABEL = {emotion.label: color for emotion, color in _COLORS.items()}

_SYNONYMS = {
    Emotion.ANGRY: ("anger", "angry"),
    Emotion.DISGUST: ("disgust", "disgusted"),
    Emotion.FEAR: ("fear", "fearful", "afraid", "scared"),
    Emotion.HAPPY: ("happy", "happiness", "joy"),
    Emotion.SAD: ("sad", "sadness"),
    Emotion.SURPRISE: ("surprise", "surprised"),
    Emotion.NEUTRAL: ("neutral",),
}

_WORDS = {word: emotion for emotion, words in _SYNONYMS.items() for word in (*words, str(int(emotion)))}

LABELS: tuple[str, ...] = tuple(emotion.label for emotion in Emotion)
"""The seven names in the order of the classes."""

CONTEMPT = len(LABELS)
"""The label of contempt, where it is a class of its own beside the seven."""

_A, _D, _F, _H, _S, _U, _N = Emotion
_CONTEMPT_WORDS = frozenset({"contempt", "contemptuous"})


class LabelOrder(StrEnum):
    """Whose numbers the labels are; words mean the same in all. ``affectnet-8`` makes contempt an eighth class."""

    FER2013 = "fer2013"
    AFFECTNET = "affectnet"
    AFFECTNET_8 = "affectnet-8"
    RAF_DB = "raf-db"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return (*LABELS, "Contempt") if self is LabelOrder.AFFECTNET_8 else LABELS

    @property
    def numbers(self) -> dict[int, int]:
        """The label that each number means."""
        if self is LabelOrder.RAF_DB:
            return dict(enumerate((_U, _F, _D, _H, _S, _A, _N), start=1))
        return dict(enumerate(Emotion if self is LabelOrder.FER2013 else (_N, _H, _S, _U, _F, _D, _A, CONTEMPT)))

    def __call__(self, word: str) -> int:
        """The label that a number or word means: 0 to 6, or 7 for contempt, whether that is a class or not.

        Raises:
            ValueError: where it means none.
        """
        number = number_of(word)
        if number in self.numbers:
            return self.numbers[number]
        if word.strip().lower() in _CONTEMPT_WORDS and self.value.startswith("affectnet"):
            return CONTEMPT
        if number is None:
            return int(Emotion.from_word(word))
        raise ValueError(f"{word!r} is none of the seven emotions in the label order {self} ({self.legend})")

    @property
    def legend(self) -> str:
        """Each number with what it means."""
        names = (*LABELS, "Contempt")
        return ", ".join(f"{number} {names[label]}" for number, label in self.numbers.items())


class Output(StrEnum):
    """What a model's prediction is made from."""

    DEFAULT = "default"
    """The calibrated combination of its heads that the model file states."""
    FER2013 = "fer2013"
    """The first head alone: the label of the data set."""
    FERPLUS = "ferplus"
    """The second head alone: how the FER+ annotators vote."""


def number_of(word: str) -> int | None:
    """The whole number that a word writes, ``3`` or ``3.0``; None where it writes none."""
    match = re.fullmatch(r"\s*(-?[0-9]{1,9})(?:\.0*)?\s*", word)
    return int(match[1]) if match else None


FERPLUS: tuple[str, ...] = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "nf",
)
"""The ten vote columns of FER+ in the order of its file; ``nf`` means not a face."""

FERPLUS_OF_EMOTION: tuple[int, ...] = tuple(
    next(place for place, word in enumerate(FERPLUS) if _WORDS.get(word) == emotion) for emotion in Emotion
)
"""The column of each of the seven emotions among FER+'s."""
