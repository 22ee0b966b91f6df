"""The seven emotions: their one order, their names, their colours, and other data sets' words for them."""

from __future__ import annotations

from enum import IntEnum


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
            ValueError: where the word names none of the seven.
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
"""For classes of one's own, in turn."""


def class_color(name: str, place: int) -> str:
    """The colour of a class, as ``"#rrggbb"``: the emotion's own, or that of a place of a fixed palette.

    Args:
        name: the class's name.
        place: where it stands among the classes, from 0.
    """
    return _COLOR_OF_LABEL.get(name, _OWN_COLORS[place % len(_OWN_COLORS)])


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
"""Where the votes for each of the seven stand among FER+'s columns."""
