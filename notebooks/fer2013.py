# The source of fer2013.ipynb; make.py makes that. What stands above the first cell stays here.
# ruff: noqa: B018, D100, D103, T201, E501

# %% [markdown]
# # Facial expressions, from FER2013 to a model that says how far to trust it
#
# The story of the article *Finetuning an ImageNet model for Facial Expression Recognition* (Kerimoglu, 2023), told with mien: data, a network that was
# trained on ImageNet, two phases of fine-tuning, and a look at where it fails. Then what mien does differently, and what that brought.
#
# Run it with `MIEN_DATA` naming FER2013 in any layout and `MIEN_IMAGENET` naming the weights (else they are downloaded once). Without `MIEN_DATA` faces are
# *drawn*. **What is live here and what is not:** this notebook trains for a few epochs on a few thousand faces. The curves and figures of the full runs come
# from `results/*.json`, and every place says which is which. The committed copy shows no face of FER2013, since these are
# not ours to pass on; run it to see them.

# %%
import io
import json
import os
import tempfile
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import Image, display
from matplotlib.figure import Figure
from PIL import Image as Pictures

import mien
from mien.data.describe import describe
from mien.data.synthetic import draw_faces
from mien.evaluation import plots
from mien.training import load_recipe
from mien.training.summary import summarize_network

LIVE_FACES = int(os.environ.get("MIEN_NOTEBOOK_FACES", "3000"))
"""How many faces of Training the live run learns from."""
LIVE_EPOCHS = os.environ.get("MIEN_NOTEBOOK_EPOCHS", "2,3").split(",")
"""How long its two phases are, at most."""
LIVE_CHANGES = os.environ.get("MIEN_NOTEBOOK_SET", "").split()
"""Further settings of its recipe."""
ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "results" / "article.json").is_file())
RUNS = Path(tempfile.mkdtemp(prefix="mien-notebook-"))


def result(name: str) -> dict:
    """What a full run of a recipe left."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def on_split(run: dict, split: str) -> dict:
    """The figures of a full run on one split."""
    return next(part for part in (run["validation"], run["test"]) if part["split"] == split)


def png(figure: Figure, dpi: int = 72) -> bytes:
    """A figure as a small PNG."""
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, dpi=dpi, facecolor="white")
    Pictures.open(raw).convert("RGB").quantize(96).save(small, "PNG", optimize=True)
    return small.getvalue()


def show(figure: Figure) -> Image:
    return Image(png(figure))


# %% [markdown]
# ## The data
#
# FER2013: 48x48 gray faces, seven classes, three splits.

# %%
faces = mien.load_faces() if os.environ.get("MIEN_DATA") else draw_faces(2000)
known = describe(faces)
print(faces)
pd.DataFrame(known["labels"])

# %% [markdown]
# The first rows, as the article's table shows them:

# %%
pd.DataFrame(
    {
        "emotion": faces.emotion[:5],
        "pixels": [" ".join(map(str, image.ravel()[:8])) + " …" for image in faces.images[:5]],
        "Usage": ["Training"] * 5,
    }
)

# %% [markdown]
# ### Examples

# %% [faces]
show(plots.examples(faces, title=f"Examples from {faces.name}"))

# %% [markdown]
# ### How the labels are distributed
#
# The article trains on Training, validates on PrivateTest and tests on PublicTest. The competition, and every other recipe of mien, exchanges the two.

# %%
training, validation = faces.select("Training"), faces.select("PrivateTest")
names = ("train: Training", "validation: PrivateTest")
show(plots.label_distributions(training.label_counts(), validation.label_counts(), names, faces.name))

# %% [markdown]
# ### A trap
#
# Some test faces stand in Training, pixel for pixel. A figure without them is called *clean* below.

# %%
known["leaked"]

# %% [markdown]
# ## The network
#
# MobileNet v1, trained on ImageNet and cut at block 12; a new head with seven outputs. (The article's layers; the first kernel is stored summed over three
# equal channels.)

# %%
network = summarize_network("article")
print(
    f"{network['parameters']:,} parameters as Keras counts them, {network['multiply_adds'] / 1e6:.1f} million multiply-adds a face"
)
pd.DataFrame(network["layers"])[["name", "kind", "output", "parameters"]]

# %% [markdown]
# ## Two phases: the head, then everything
#
# **Live, and short**: the article's recipe with fewer faces and epochs.

# %%
changes = [f"phases.{number}.epochs={epochs}" for number, epochs in enumerate(LIVE_EPOCHS)]
recipe = load_recipe("article", [*changes, *LIVE_CHANGES])
rng = np.random.default_rng(0)
places = np.flatnonzero(faces.usage == 0)
kept = rng.choice(places, size=min(LIVE_FACES, len(places)), replace=False)
fewer = faces.take(np.sort(np.concatenate([kept, np.flatnonzero(faces.usage != 0)])))


def told(row: dict) -> None:
    """Print an epoch."""
    print(
        f"{row['phase']:<5} epoch {row['epoch']}  train {row['train_accuracy']:.1%}  validation {row['val_accuracy']:.1%}"
    )


live = mien.train(recipe, fewer, RUNS / "live", on_epoch=told, progress=False)

# %% [markdown]
# Its curves (live). The loss in training is weighed by the classes' shares, as in the article, and so lies below that in validation:

# %%
show(plots.history(live.rows, f"Live: {len(kept):,} faces of {faces.name}"))

# %% [markdown]
# And those of the full run (`results/article.json`, on FER2013):

# %%
full = result("article")
show(plots.history(full["history"], f"Full run: {full['command']}"))

# %% [markdown]
# ## Evaluation
#
# The live model beside the full run and the article, on PublicTest:

# %%
judged = mien.evaluate(live.bundle, faces, "PublicTest")
public = on_split(full, "PublicTest")


def line(part: dict) -> list[str]:
    clean = part["clean"]["accuracy"] if part["clean"] else None
    return [
        f"{part['accuracy']:.2%}",
        "-" if clean is None else f"{clean:.2%}",
        f"{part['macro_f1']:.3f}",
        f"{part['nll']:.4f}",
    ]


pd.DataFrame(
    [line(judged.figures), line(public), ["62.36%", "-", "-", "1.0364"]],
    index=[f"live, {len(kept):,} faces of {faces.name}", "full run on FER2013", "the article"],
    columns=["accuracy", "clean", "macro-F1", "loss"],
)

# %% [markdown]
# ## Look at single faces
#
# Move the slider; this needs a running notebook. The model is `best`, which comes with mien; its bars say what people would see.

# %%
predictor = mien.Predictor("best", detector="none")
shown = faces.select("PublicTest")


def portrait(index: int) -> Figure:
    """A face beside its seven bars."""
    face = predictor.faces(shown.images[index : index + 1])[0]
    bars = np.asarray(list(face.probabilities.values()))
    true = shown.labels[shown.emotion[index]]
    return plots.face_and_bars(shown.images[index], bars, predictor.labels, true, f"{shown.name}, number {index}")


def turn(change: dict) -> None:
    picture.value = png(portrait(change["new"]))


first = min(106, len(shown) - 1)
picture = widgets.Image(value=png(portrait(first)), format="png")
slider = widgets.IntSlider(first, 0, len(shown) - 1, description="face", continuous_update=False)
slider.observe(turn, names="value")
display(widgets.VBox([slider, picture]))

# %% [markdown]
# The article's example, number 106, as the slider shows it at first:

# %% [faces]
show(portrait(first))

# %% [markdown]
# ## Which expressions are taken for which
#
# The full run's confusion matrix on PublicTest (`results/article.json`), and that of `best`, judged here and now:

# %%
show(plots.confusion_matrix(np.asarray(public["confusion"]), faces.labels, "article, full run, PublicTest"))

# %%
best = mien.evaluate("best", faces, "PublicTest")
show(plots.confusion_matrix(np.asarray(best.figures["confusion"]), faces.labels, f"best on {faces.name}, PublicTest"))

# %% [markdown]
# ## Wrong, and sure of it
#
# The faces on which `best` is wrong and surest. Where FER+ votes are at hand, what most of ten people saw stands below: often they side with the model.

# %% [faces]
wrong = np.flatnonzero(best.predicted != best.faces.emotion)
sure = wrong[np.argsort(-best.probabilities[wrong].max(axis=1))][:12]


def remark(index: int) -> str:
    """Label, answer, and what people saw."""
    said = best.probabilities[index].argmax()
    text = f"{best.faces.labels[best.faces.emotion[index]]}, said {faces.labels[said]} {best.probabilities[index, said]:.0%}"
    if best.faces.votes is None:
        return text
    shares = best.faces.vote_shares()[index]
    if not shares.any():
        return f"{text}\npeople: none of the seven"
    return f"{text}\npeople: {faces.labels[shares.argmax()]} {shares.max():.0%}"


figure = Figure(figsize=(11, 5.2), layout="constrained")
for axes, index in zip(figure.subplots(2, 6).ravel(), sure, strict=False):
    axes.imshow(best.faces.images[index], cmap="gray", vmin=0, vmax=255)
    axes.set_title(remark(index), fontsize=7)
for axes in figure.axes:
    axes.set_axis_off()
show(figure)

# %% [markdown]
# ## What we changed, and what it brought
#
# * **`fast`**: the same network; input in [-1, 1], as the ImageNet weights expect it; batch norm that learns; one cycle of the learning rate; augmentation
#   that matters; averaged weights; a second head that learns from FER+ what people see. Ten epochs.
# * **`best`**: the same at twice the resolution, trained longer, and settled without label smoothing so that its probabilities can be believed.
# * **`tiny`**: 0.29 million parameters, taught by `best`.
#
# All from full runs on FER2013 (`results/*.json`), single view, no test-time augmentation:

# %%
rows = {}
for name in ("article", "fast", "best", "tiny"):
    run = result(name)
    private = on_split(run, "PrivateTest")
    seen = private.get("ferplus")
    rows[name] = {
        "numbers stored": f"{private['model']['parameters']:,}",
        "epochs": run["epochs"],
        "PublicTest": f"{on_split(run, 'PublicTest')['accuracy']:.2%}",
        "PrivateTest": f"{private['accuracy']:.2%}",
        "clean": f"{private['clean']['accuracy']:.2%}",
        "macro-F1": f"{private['macro_f1']:.3f}",
        "ECE": f"{private['ece']:.3f}",
        "agrees with people": f"{seen['agreement']:.1%}" if seen else "-",
    }
pd.DataFrame(rows).T

# %%
figure = Figure(figsize=(8, 3.4), layout="constrained")
axes = figure.subplots()
for place, name in enumerate(rows):
    per_class = on_split(result(name), "PrivateTest")["per_class"]
    recall = [one["recall"] for one in per_class.values()]
    axes.bar(np.arange(7) + 0.2 * place - 0.3, recall, 0.2, label=name)
axes.set_xticks(range(7), faces.labels)
axes.set_ylabel("recall, PrivateTest")
axes.legend(ncols=4, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
axes.spines[["top", "right"]].set_visible(False)
show(figure)

# %% [markdown]
# `article` never says Disgust: its class weights make the rare class count less (`results/ablations.json`). The rest of the way is limited by the labels: on
# PrivateTest people themselves name fewer of FER2013's labels than `best` does. `docs/analysis.md` has the figures.
#
# ## From here
#
# `mien train best --data D --out runs/best` trains the best one, `mien predict photo.jpg` names the faces in a photo, `mien report` opens every mistake in a
# browser, and `mien export` writes a model for other runtimes.
