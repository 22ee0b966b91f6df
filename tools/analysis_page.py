"""Make docs/analysis.md and its picture from results/*.json; with --check, only compare the text.

Usage: python -m tools.analysis_page [--check]
"""

import numpy as np

from benchmarks.report import ROOT
from mien.emotions import LABELS
from tools.output import check_option, read_result, update
from tools.tables import first_head

DOCS = ROOT / "docs"
PAGE, PICTURE = DOCS / "analysis.md", DOCS / "analysis.png"
SPLIT = "PrivateTest"
WEIGHTS = {
    "none": "none",
    "share": "the class's share of Training (the article's)",
    "inverse": "inverse to the count",
    "effective": "inverse to the effective number",
}
KEPT = {
    "none": "all",
    "without near duplicates": "without identical and near duplicates, but the first of each group",
}


def percent(value, digits=1):
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def private(run):
    return next(part for part in (run["validation"], run["test"]) if part["split"] == SPLIT)


def pair_parts(run, pairs):
    """The fraction of the true class that a model predicts as the other, for given pairs."""
    counts = np.array(private(run)["confusion"])
    index = {name: place for place, name in enumerate(LABELS)}
    return [counts[index[t], index[p]] / counts[index[t]].sum() for t, p in pairs]


def pairs(found, article, best):
    rows = found["models"]["best"]["splits"][SPLIT]["pairs"]
    names = [(row["true"], row["predicted"]) for row in rows]
    before, now = pair_parts(article, names), pair_parts(best, names)
    cells = [[f"{t} → {p}", percent(a), percent(b)] for (t, p), a, b in zip(names, before, now, strict=True)]
    sad = pair_parts(article, [("Neutral", "Sad"), ("Angry", "Surprise")])
    new = pair_parts(best, [("Neutral", "Sad"), ("Angry", "Surprise")])
    return f"""## Which expressions are confused

{table(["label → prediction", "`article`", "`best`"], cells)}

Of the two pairs that the article names, Neutral → Sad went from {percent(sad[0])} to {percent(new[0])} of the Neutral faces, and Angry → Surprise from
{percent(sad[1])} to {percent(new[1])} of the Angry ones: the second is no weak spot of either. Most of the remaining confusions are among Sad, Neutral, Fear and Angry."""


def labels(found):
    split = found["models"]["best"]["splits"][SPLIT]
    d, own = split["doubt"], split["own_doubt"]
    return f"""## How many of the errors are label errors

A label is *suspect by votes* where at most one of ten FER+ voters gave it and more than half of all gave another emotion. On {
        SPLIT
    }, of `best`:

{
        table(
            ["what", "faces"],
            [
                ["errors", f"{d['errors']:,} of {split['n']:,}"],
                ["suspect labels", f"{d['suspects']:,} ({percent(d['suspects'] / split['n'])})"],
                [
                    "errors on suspect labels",
                    f"{d['errors_suspect']:,} ({percent(d['errors_suspect'] / d['errors'])} of the errors)",
                ],
                [
                    "accuracy on suspect labels; on all others",
                    f"{percent(d['accuracy_suspect'])}, {percent(d['accuracy_rest'])}",
                ],
                ["faces on which more than half of all votes agree", f"{d['clear']:,}"],
                ["errors on these", f"{d['clear_errors']:,}"],
                [
                    "… where most votes agree with the model",
                    f"{d['errors_seen_as_model']:,} ({percent(d['errors_seen_as_model'] / d['clear_errors'])})",
                ],
                [
                    "… where most votes agree with the label",
                    f"{d['errors_seen_as_label']:,} ({percent(d['errors_seen_as_label'] / d['clear_errors'])})",
                ],
            ],
        )
    }

A model finds such labels without votes, too: confident learning (cleanlab) on the predictions of `best`, which was not trained on this split, finds {
        own["suspects"]:,} labels, and the
official FER+ majority is another emotion for {percent(own["contradicted"] / own["suspects"])} of them, against {
        percent(own["contradicted_of_all"] / split["n"])
    } of all faces. `mien report` shows both kinds."""


def ceiling(found, best):
    one = found["people"][SPLIT]
    levels = found["models"]["best"]["splits"][SPLIT]["by_agreement"]
    names = ["4 or fewer" if low == 0 else f"{low}" for low, _ in (row["votes"] for row in levels)]
    rows = [
        [name, f"{row['faces']:,}", percent(row["majority"]), percent(row["model"])]
        for name, row in zip(names, levels, strict=True)
    ]
    return f"""## Human agreement

The ten FER+ voters of each {SPLIT} face did not see FER2013's labels. One voter drawn at random agrees with {percent(one["voter_names_the_label"])} of these
labels and the majority of the ten with {percent(one["majority_names_the_label"])}; on the {one["clear"]:,} faces where more than half agree, with {percent(one["clear_majority_names_the_label"])}. Two voters of the same face
agree with each other in {percent(one["two_voters_agree"])}. The FER2013 head of `best` predicts {percent(first_head(private(best))["accuracy"], 2)} of the labels: more than people do, since it has learned how these labels were
assigned, not only what the faces show. A higher accuracy on FER2013 is therefore no evidence of better recognition; agreement with people is
(`best`: {percent(private(best)["ferplus"]["agreement"])} on the clear faces, what `mien predict` shows).

{table(["votes for the most frequent emotion, of 10", "faces", "the most frequent emotion is the label", "`best` predicts the label"], rows)}

![Accuracy against the number of votes that agree, of ten](analysis.png)"""


def ferplus(found):
    lines = []
    for name, model in found["models"].items():
        one = model["splits"][SPLIT]["ferplus"]
        figures = [percent(one[key], 2) for key in ("accuracy", "accuracy_without_contempt")]
        lines.append([f"`{name}`", *figures, f"{one['macro_f1']:.3f}", f"{one['cross_entropy']:.3f}"])
    one = found["models"]["best"]["splits"][SPLIT]["ferplus"]
    return f"""## Evaluated on FER+

Official filtering, eight classes, the majority vote as the label, {one["n"]:,} faces of {SPLIT}. The models have seven classes: all {one["contempt"]} faces of contempt count as errors.
They were trained on the votes of Training, and selected on FER2013's labels.

{table(["model", "accuracy", "without contempt", "macro F1", "cross-entropy with the votes"], lines)}"""


def weights(rows):
    def cells(name):
        row = rows[name]
        d = row["disgust"]
        return [percent(row["accuracy"], 2), f"{row['macro_f1']:.3f}", percent(d["recall"]), percent(d["precision"])]

    four = table(
        ["weights", "accuracy", "macro F1", "Disgust: recall", "precision"],
        [[text, *cells(name)] for name, text in WEIGHTS.items()],
    )
    base, share, full, half = (rows[name] for name in ("none", "share", "inverse", "effective"))
    return f"""## Class weights

The article weighs each class by its share of Training, so that rare classes count *less*. `fast` without the FER+ head, {base["changes"][-1].split("=")[-1]} epochs, seed {base["seed"]}, on
PublicTest ({base["n"]:,} faces, {base["disgust"]["faces"]} of them Disgust: one face is {percent(1 / base["disgust"]["faces"])} of recall):

{four}

The article's weights take Disgust's recall from {percent(base["disgust"]["recall"])} to {percent(share["disgust"]["recall"])} and change accuracy by {100 * (share["accuracy"] - base["accuracy"]):+.1f} points. Balancing by the
count brings it to {percent(full["disgust"]["recall"])}, at {100 * (full["accuracy"] - base["accuracy"]):+.1f} points of accuracy, and with {percent(full["disgust"]["precision"])} of these predictions right; the effective number is in between: {percent(half["disgust"]["recall"])}, {100 * (half["accuracy"] - base["accuracy"]):+.1f} points. One
run each: differences in accuracy below 1.5 points are within chance. The shipped models use no weights; trained longer, `best` recognises {percent(private(read_result("best"))["per_class"]["Disgust"]["recall"])} of
{SPLIT}'s Disgust faces."""


def duplicates(rows, check, best):
    lines = [
        [text, f"{rows[name]['training_faces']:,}", percent(rows[name]["accuracy"], 2),
         percent(rows[name]["clean"]["accuracy"], 2),
         f"{100 * (rows[name]['accuracy'] - rows[name]['clean']['accuracy']):.2f} points"]
        for name, text in KEPT.items()
    ]  # fmt: skip
    score = first_head(private(best))
    return f"""## Duplicates

{check["leaked"]["PublicTest"]} PublicTest and {check["leaked"]["PrivateTest"]} {SPLIT} faces are also in Training, pixel for pixel. With them the FER2013 head of `best` scores {percent(score["accuracy"], 2)} on {SPLIT}, without them {percent(score["clean"]["accuracy"], 2)}: about
{100 * (score["accuracy"] - score["clean"]["accuracy"]):.1f} points of every published figure on FER2013 may be memorisation. The same short runs as above, trained without such faces, on PublicTest:

{table(["training faces", "count", "accuracy", "clean accuracy", "gap"], lines)}

With fewer training faces both figures fall slightly; the gap between them shrinks."""


def page():
    found, best = read_result("analysis"), read_result("best")
    rows = {row["variant"]: row for row in read_result("ablations")["rows"] if row["seed"] == 0}
    parts = [
        pairs(found, read_result("article"), best),
        labels(found),
        ceiling(found, best),
        ferplus(found),
        weights(rows),
        duplicates(rows, read_result("data_check"), best),
    ]
    return "\n\n".join([HEAD, *parts]) + "\n"


HEAD = """# Error analysis

Made by `python -m tools.analysis_page` from `results/analysis.json`, `results/ablations.json`, `results/data_check.json`, `results/article.json`
and `results/best.json`; each names the command that wrote it. Single view, no test-time augmentation, one model.

The article names three weak spots: similar expressions, few Disgust faces, label errors. This page measures them."""


def draw(levels):
    """Accuracy of the model and of the votes against the votes for the most frequent emotion."""
    from matplotlib.figure import Figure

    from mien.evaluation import plots

    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    names = ["≤ 4" if row["votes"][0] == 0 else str(row["votes"][0]) for row in levels]
    axes.plot(
        names, [100 * row["model"] for row in levels], marker="o", color="#2563eb", label="best predicts the label"
    )
    axes.plot(
        names, [100 * row["majority"] for row in levels], marker="s", color="#d97706", label="the most frequent emotion is the label"
    )  # fmt: skip
    axes.set_xlabel("votes for the most frequent emotion, of 10")
    axes.set_ylabel("% of the faces")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(f"{SPLIT}: the model follows the labels where the votes disagree", loc="left")
    plots.save(figure, PICTURE)


def main():
    check = check_option(__doc__)
    update(PAGE, page(), check, __spec__.name)
    if not check:
        draw(read_result("analysis")["models"]["best"]["splits"][SPLIT]["by_agreement"])


if __name__ == "__main__":
    main()
