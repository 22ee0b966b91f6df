"""Photos that come with packages, and FER2013's faces pasted into them: what detectors are measured on."""

from pathlib import Path

import cv2
import numpy as np

from mien.data.decoding import read_image

NEGATIVES = (
    "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png", "page.png", "text.png", "coins.png", "moon.png",
    "brick.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "retina.jpg", "horse.png", "ihc.png",
    "clock_motion.png", "color.png", "chessboard_RGB.png", "cell.png", "phantom.png",
)  # fmt: skip
"""Photos of scikit-image without people."""
FACES = {"astronaut.png": (178, 68, 92, 118), "grace_hopper.jpg": (206, 100, 152, 190)}
"""Photos with one face each, and where it is: left, top, width and height, read off the photo."""
SCENES = ("coffee.png", "rocket.jpg", "motorcycle_left.png", "china.jpg", "flower.jpg", "chelsea.png")
"""Photos that faces are pasted into; the last two but one come with scikit-learn."""


def load(name, folders):
    """A photo as RGB uint8 (H, W, 3) from the first of the folders that has it."""
    for folder in folders:
        if (Path(folder) / name).is_file():
            return read_image(Path(folder) / name).pixels
    raise SystemExit(f"{name} is in none of {[str(folder) for folder in folders]}")


def variants(image, box):
    """(what, image, box): a photo scaled, turned and brightened, each from the original."""
    yield "as it is", image, box
    for scale in (0.75, 0.5, 0.35, 0.25):
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        yield f"scaled to {scale}", small, tuple(v * scale for v in box)
    for degrees in (-30, -20, -10, 10, 20, 30):
        yield f"turned by {degrees}", *turned(image, box, degrees)
    for gain in (0.25, 0.5, 1.6):
        yield f"light times {gain}", np.clip(image * gain, 0, 255).astype(np.uint8), box
    yield "mirrored", image[:, ::-1].copy(), (image.shape[1] - box[0] - box[2], *box[1:])


def turned(image, box, degrees):
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    x, y = matrix @ (box[0] + box[2] / 2, box[1] + box[3] / 2, 1)
    turn = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    return turn, (x - box[2] / 2, y - box[3] / 2, box[2], box[3])


def pasted(scene, face, side, rng):
    """A scene with a gray face of ``side`` pixels somewhere in it, and the face's box."""
    scene = scene.copy()
    left, top = (int(rng.integers(0, limit - side)) for limit in (scene.shape[1], scene.shape[0]))
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    scene[top : top + side, left : left + side] = large[..., None]
    return scene, (left, top, side, side)


def hit(box, truth):
    """Whether a box's centre lies in the true box and neither is more than twice as large as the other."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    inside = truth[0] <= x <= truth[0] + truth[2] and truth[1] <= y <= truth[1] + truth[3]
    return inside and 0.25 <= box[2] * box[3] / (truth[2] * truth[3]) <= 4
