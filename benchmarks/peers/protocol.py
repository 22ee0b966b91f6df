"""What every peer of inference.py does: answer requests, and report the seconds of each call.

The peers run in virtual environments of their own, so this needs no more than NumPy.
"""

import json
import resource
import sys
import time
from importlib import metadata
from pathlib import Path

LARGEST = 64


def serve(answer, faces, names, about):
    """Answer requests, a line of JSON each, until the input ends; then print what is known about this peer.

    ``answer`` takes uint8 (n, 48, 48) and gives (n, classes); ``names`` are the classes, or None for weights that were
    drawn at random. A request is ``{"batch": B, "calls": C, "first": F}``, answered by the seconds of each of C calls
    on B faces, the first of them call number F of a walk through the faces; or ``{"all": true}``, answered by the
    predicted class of every face. A turn begins with a call that is not counted, as the others
    have used the caches since.
    """
    images = load(faces)
    for size in (1, LARGEST):
        answer(images[:size])
    reply({})
    for line in sys.stdin:
        request = json.loads(line)
        reply(
            {"predictions": predictions(answer, images, names)}
            if "all" in request
            else timed(answer, images, **request)
        )
    reply(about | {"peak_bytes": peak_bytes()})


def load(faces):
    import numpy as np

    return np.load(faces)["images"]


def timed(answer, images, batch, calls, first):
    places = [number * batch % (len(images) - batch + 1) for number in range(first, first + calls)]
    answer(images[places[0] : places[0] + batch])
    seconds = []
    for place in places:
        part = images[place : place + batch]
        start = time.perf_counter()
        answer(part)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def predictions(answer, images, names):
    if names is None:
        return None
    parts = [answer(images[at : at + LARGEST]).argmax(1) for at in range(0, len(images), LARGEST)]
    return [names[number] for part in parts for number in part]


def versions(*packages):
    return {package: metadata.version(package) for package in packages}


def peak_bytes():
    """The most memory that this process held. ``ru_maxrss`` would also count the parent that it was forked from."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reply(value):
    print(json.dumps(value), flush=True)
