"""The service's answers, as its OpenAPI describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

_FACE: dict[str, Any] = {
    "box": [0, 0, 48, 48],
    "detection": None,
    "emotion": "Happy",
    "confidence": 0.93,
    "probabilities": {
        "Angry": 0.01, "Disgust": 0.0, "Fear": 0.01, "Happy": 0.93, "Sad": 0.01, "Surprise": 0.02, "Neutral": 0.02
    },
}  # fmt: skip
_READ: dict[str, Any] = {"name": "face.png", "width": 48, "height": 48, "faces": [_FACE], "error": None, "note": None}
_REFUSED: dict[str, Any] = {
    "name": "notes.txt", "width": None, "height": None, "faces": [],
    "error": "it is not a readable image (unknown format)", "note": None,
}  # fmt: skip


class FaceAnswer(BaseModel):
    """A face and its prediction."""

    box: list[int] = Field(min_length=4, max_length=4, description="Left, top, width and height, in pixels.")
    detection: float | None = Field(description="The detector's confidence, 0 to 1; null where the image was a crop.")
    emotion: str = Field(description="The most probable class, or uncertain.")
    confidence: float = Field(ge=0, le=1, description="The most probable class's probability.")
    probabilities: dict[str, float] = Field(description="Each class's probability; they sum to 1.")


class ImageAnswer(BaseModel):
    """The faces of one image, or why it could not be read."""

    name: str | None = Field(description="The file name that was sent, without folders; null where there was none.")
    width: int | None = Field(description="The upright image's, in pixels; null where it could not be read.")
    height: int | None
    faces: list[FaceAnswer] = Field(description="The most confident detection first.")
    error: str | None = Field(description="Why it could not be read; null where it was.")
    note: str | None = Field(description="Which faces are out of reach, where a large image was reduced; else null.")


class Answer(BaseModel):
    """The images of a request, in the order in which they were sent."""

    model: str
    images: list[ImageAnswer]

    model_config = {"json_schema_extra": {"examples": [{"model": "best", "images": [_READ, _REFUSED]}]}}


class ModelAnswer(BaseModel):
    """A model that the service offers."""

    name: str
    default: bool = Field(description="Whether it is used where a request names none.")
    labels: list[str] = Field(description="The classes, in the order of the probabilities.")
    output: str = Field(description="What the probabilities are made from: which of its heads, and how.")
    parameters: int = Field(description="The number of its weights.")
    sha256: str = Field(description="Of its file, hex.")


class ModelsAnswer(BaseModel):
    """All models that the service offers."""

    models: list[ModelAnswer]


class State(BaseModel):
    """The state of the service."""

    status: str


class ProblemAnswer(BaseModel):
    """A refusal, as RFC 9457 has it."""

    type: str = Field(description="Which kind of problem; it stays the same from version to version.")
    title: str
    status: int
    detail: str = Field(description="What is wrong with this request, and how to mend it.")
    request_id: str | None = None
