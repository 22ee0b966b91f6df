"""The tables of models, speed and peers, from results/*.json; ``tools.docs_tables`` puts them into the documents."""

from benchmarks.report import RESULTS
from tools.output import read_result

PERCENT = {"cnn-plain": "about 55 %", "cnn-callbacks": "about 55 %", "cnn-augment": "about 57 %"}
SHIPPED = ("best", "tiny")
ARTICLE = [
    ("best validation accuracy (PrivateTest)", "63.30 %"),
    ("reached in fine-tuning epoch", "36"),
    ("epochs: head, fine-tuning", "5, 47"),
    ("test accuracy (PublicTest)", "62.36 %"),
    ("test loss (PublicTest)", "1.0364"),
]
"""The article counts on from epoch 5 when it fine-tunes: its epochs 40 and 51 are the 36th and 47th of fine-tuning."""


def measured():
    """The CNN recipes that have a result."""
    return [name for name in PERCENT if (RESULTS / f"{name}.json").is_file()]


def percent(value):
    return f"{100 * value:.2f} %"


def article_table():
    ours = read_result("article")
    test = ours["test"]
    phases = [row["phase"] for row in ours["history"]]
    figures = [
        percent(ours["best_validation_accuracy"]),
        str(ours["best_epoch"] - phases.count("head")),
        f"{phases.count('head')}, {phases.count('all')}",
        percent(test["accuracy"]),
        f"{test['nll']:.4f}",
    ]
    lines = ["| `article` | article's figure | ours |", "|---|---|---|"]
    for (what, theirs), mine in zip(ARTICLE, figures, strict=True):
        lines.append(f"| {what} | {theirs} | {mine} |")
    for name in measured():
        one, theirs = read_result(name), PERCENT[name]
        what = f"`{name}`: test accuracy (PublicTest), {one['epochs']} epochs"
        lines.append(f"| {what} | {theirs} | {percent(one['test']['accuracy'])} |")
    return lines


def models_table():
    lines = [
        "| recipe | parameters | PublicTest (clean) | PrivateTest (clean) | F1, ECE (public) | seed | SHA-256 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("article", *measured()):
        one = read_result(name)
        splits = {part["split"]: part for part in (one["validation"], one["test"])}
        cells = [f"{percent(s['accuracy'])} ({percent(s['clean']['accuracy'])})" for s in
                 (splits["PublicTest"], splits["PrivateTest"])]  # fmt: skip
        test = one["test"]
        lines.append(
            f"| `{name}` | {test['model']['parameters']:,} | {cells[0]} | {cells[1]} | {test['macro_f1']:.3f},"
            f" {test['ece']:.3f} | {one['seed']} | `{test['model']['sha256'][:12]}` |"
        )
    return lines


def first_head(part):
    """The figures of an evaluation by the FER2013 head."""
    return part.get("heads", {}).get("fer2013") or part


def shipped_table():
    """The shipped models on PrivateTest: what `mien predict` shows, then the FER2013 head alone."""
    lines = [
        "| model | parameters | FER+ agreement | class-balanced | ECE | FER2013 labels | FER2013 head alone (clean)"
        " | SHA-256 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in SHIPPED:
        if (RESULTS / f"{name}.json").is_file():
            test = read_result(name)["test"]
            labels, ferplus = first_head(test), test["ferplus"]
            lines.append(
                f"| `{name}` | {test['model']['parameters']:,} | **{percent(ferplus['agreement'])}** |"
                f" {percent(ferplus['balanced'])} | {ferplus['ece']:.3f} | {percent(test['accuracy'])} |"
                f" {percent(labels['accuracy'])} ({percent(labels['clean']['accuracy'])}) |"
                f" `{test['model']['sha256'][:12]}` |"
            )
    return lines


def speed_table():
    epoch, load = read_result("keras_epoch")["fine_tuning_seconds_an_epoch"], read_result("load")
    lines = ["| what | peer | mien | ratio |", "|---|---|---|---|"]
    lines.append(
        f"| an epoch of fine-tuning, validation included | {epoch['keras']:.1f} s (Keras on TensorFlow) |"
        f" {epoch['mien']:.1f} s | {epoch['ratio']:.2f} |"
    )
    return [*lines, *target_rows(), *inference_rows(), *load_rows(load)]


def target_rows():
    """The row of the time to the article's accuracy."""
    if not (RESULTS / "time_to_accuracy.json").is_file():
        return []
    taken = read_result("time_to_accuracy")["seconds_to_target"]
    keras, best, ours = (taken[name] / 60 for name in ("keras", "keras_at_its_best_pace", "mien"))
    theirs = f"{keras:.0f} min (Keras in the same run; {best:.0f} min at its best pace anywhere)"
    return [f"| 62.36 % on PublicTest, training | {theirs} | {ours:.1f} min | {ours / keras:.3f} ({ours / best:.2f}) |"]


def inference_rows():
    """Our int8 models beside the fastest of the ways to run fer's classifier."""
    if not (RESULTS / "inference.json").is_file():
        return []
    sides, setting = read_result("inference")["sides"], "batch 64, threads 2"
    rate = {name: one["speed"][setting]["faces_a_second"] for name, one in sides.items()}
    peer = max((name for name in sides if name.startswith("fer-")), key=rate.__getitem__)
    theirs = f"{rate[peer]:,.0f}/s, clean {percent(sides[peer]['clean_accuracy'])} (fer, {peer.removeprefix('fer-')})"
    return [
        f"| faces predicted, {setting}: `{name}` in int8 | {theirs} | {rate[f'{name}-int8']:,.0f}/s, clean"
        f" {percent(sides[f'{name}-int8']['clean_accuracy'])} | {rate[peer] / rate[f'{name}-int8']:.2f} |"
        for name in SHIPPED
    ]


PEERS = {
    "best-int8": "mien, `best` in int8",
    "tiny-int8": "mien, `tiny` in int8",
    "fer-keras": "fer, Keras model",
    "fer-tflite": "fer, tflite model",
}
MEASURED = "2026-11-25"
"""When results/inference.json was recorded (results/LOG.md)."""


def peers_table():
    """Our int8 models and fer's two on the same faces, in the same run, on the same machine."""
    found, setting = read_result("inference"), "batch 64, threads 2"
    sides, versions = found["sides"], found["sides"]["fer-keras"]["versions"]
    lines = [
        "| model | PrivateTest | clean | file | faces/s | memory |",
        "|---|---|---|---|---|---|",
    ]
    for name, shown in PEERS.items():
        one = sides[name]
        lines.append(
            f"| {shown} | {percent(one['accuracy'])} | {percent(one['clean_accuracy'])} |"
            f" {one['model_bytes'] / 1e6:.2f} MB | {one['speed'][setting]['faces_a_second']:,.0f} |"
            f" {one['peak_megabytes']['2']:.0f} MB |"
        )
    packages = ", ".join(f"{name} {version}" for name, version in versions.items() if name in ("fer", "tensorflow"))
    hardware = found["hardware"]
    return [
        *lines,
        "",
        f"Measured on {MEASURED}: {found['data']['faces']:,} face crops of FER2013, without face detection; {setting}"
        f" of an {hardware['cpu']} with {hardware['cores']} cores ({packages}; `results/inference.json`). fer's network"
        " was trained on FER2013, too; on which part of it is not known.",
    ]


def load_rows(load):
    """The rows of the CSV benchmark."""
    ways = load["ways"]
    peer = ways["pandas-split"]
    rows = []
    for what, name in (("cold", "mien-cold"), ("from its cache", "mien-cached")):
        ours = ways[name]
        theirs = f"{peer['seconds']:.2f} s, {peer['peak_mb']} MB (pandas, `split` a row)"
        rows.append(
            f"| the {load['table_mb']} MB CSV, {what} | {theirs} |"
            f" {ours['seconds']:.2f} s, {ours['peak_mb']} MB | {ours['seconds'] / peer['seconds']:.2f} |"
        )
    return rows
