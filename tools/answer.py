"""Store the calibrations that results/answer.json has in the shipped models, and measure these anew.

Usage: python -m tools.answer --data D [MODEL...]

Only a bundle's model.yaml changes: calibration, and in the provenance what it was fitted on. Its weights and graph stay
byte for byte. The evaluations in results/MODEL.json become those of the new file, by its default output; the record of
the training stays.
"""

import argparse
import json
import zipfile
from pathlib import Path

import yaml

from benchmarks.report import RESULTS
from mien._utils.files import atomic
from mien.data import load_faces
from mien.evaluation import evaluate
from mien.models.bundle import CARD_FILE, Calibration
from mien.models.load import find_bundle, load_bundle, shipped_models


def store(path, calibration, fitted):
    """Replace the calibration of a bundle's file; all other members keep their bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    card = yaml.safe_load(next(data for info, data in members.items() if info.filename == CARD_FILE))
    card["calibration"] = Calibration.model_validate(calibration).model_dump(mode="json")
    card["provenance"]["calibration"] = fitted
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True).encode()
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for info, data in members.items():
            archive.writestr(zipfile.ZipInfo(info.filename), text if info.filename == CARD_FILE else data)
    load_bundle(path)


def measure(name, faces):
    """Put the evaluations of the stored file into the model's result."""
    path = RESULTS / f"{name}.json"
    result = json.loads(path.read_text())
    for part in ("validation", "test"):
        result[part] = evaluate(name, faces, result[part]["split"]).to_dict() | {"data": result[part]["data"]}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(name, load_bundle(name).card.output, *(f"{result[part]['accuracy']:.2%}" for part in ("validation", "test")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="without one, all shipped ones")
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+ votes")
    options = parser.parse_args()
    study, faces = json.loads((RESULTS / "answer.json").read_text()), load_faces(options.data)
    for name in options.models or shipped_models():
        if one := study["models"].get(name):
            fitted = {"on": ["PublicTest", f"photos ({study['photos']})"], "command": study["command"]}
            store(find_bundle(name), one["calibration"], fitted | {"bundle_sha256": one["sha256"]})
        measure(name, faces)


if __name__ == "__main__":
    main()
