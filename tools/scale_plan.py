"""Print the plan from 36 thousand faces to 100 million, computed from results/*.json; or put it into docs/scale.md.

Usage: python -m tools.scale_plan [--write | --check]

What a results file says is measured; everything else in the tables follows from it by the arithmetic in this file, and
is called projected. A file that is not there yet is named as not measured.
"""

import argparse
import re
import sys

from benchmarks.report import RESULTS, ROOT
from mien.training import load_recipe
from mien.training.blocks import Blocks
from mien.training.summary import summarize_network
from tools.output import read_result, update

DOC = ROOT / "docs" / "scale.md"
FACE = 48 * 48
MILLION = 1_000_000
SIZES = (28_709, 100_000, MILLION, 10 * MILLION, 100 * MILLION)
EPOCHS = 10
"""Of the recipe fast."""
MISSING = "not measured yet"


def result(name):
    return read_result(name) if (RESULTS / f"{name}.json").is_file() else None


def constants():
    """What is measured, by name; None where it is not."""
    fast, stream, parallel = (result(name) for name in ("fast", "stream", "parallel"))
    trained = fast["seconds_an_epoch"]["all"] * fast["hardware"]["cores"] / SIZES[0]
    found = {
        "core_seconds_a_face": trained,
        "parameters": summarize_network("fast")["phases"][0]["stored_trainable"],
        "batch": load_recipe("fast").batch_size,
        "stream": None,
        "parallel": parallel,
        "fast": fast,
    }
    if stream:
        small, large = stream["sets"][0], stream["sets"][-1]
        more = large["training_faces"] - small["training_faces"]
        grown = {how: large[how]["peak_mb_fed"] - small[how]["peak_mb_fed"] for how in ("memory", "stream")}
        found["stream"] = {
            "small": small,
            "large": large,
            "memory_a_face": grown["memory"] * 2**20 / more if more else None,
            "bytes_a_face": large["shards"]["bytes_a_face"],
            "pass": large["stream"]["pass_faces_a_second"],
            "peak_mb": max(one["stream"]["peak_mb_fed"] for one in stream["sets"]),
        }
    return found


def measured(found):
    """The first table: what was measured, where it is written down."""
    lines = ["| measured | value | from |", "|---|---|---|"]
    fast = found["fast"]
    lines += [
        row(
            f"an epoch of `fast`: {SIZES[0]:,} faces, {fast['hardware']['cores']} cores, validation included",
            f"{fast['seconds_an_epoch']['all']:.1f} s",
            "results/fast.json",
        )
    ]
    lines += streamed_rows(found["stream"]) + parallel_rows(found["parallel"])
    bytes_a_step = 4 * found["parameters"] / 1e6
    what = "gradients that a process sends and receives per step: 4 bytes per trainable parameter"
    return [
        *lines,
        row(what, f"{found['parameters']:,} parameters, {bytes_a_step:.1f} MB", "`mien summary fast`"),
    ]


def streamed_rows(stream):
    where = "results/stream.json"
    if stream is None:
        return [row("streaming: faces a second, bytes a face, memory", MISSING, where)]
    lines = []
    for one in (stream["small"], stream["large"]):
        size, ratio = f"{one['training_faces']:,} faces", one["step_ratio"]
        for how, name in (("memory", "in memory"), ("stream", "streamed")):
            side = one[how]
            lines += [
                row(
                    f"{size} {name}: one pass without training; peak memory; until the first batch",
                    f"{side['pass_faces_a_second']:,} faces/s; {side['peak_mb_fed']:,} MB;"
                    f" {side['seconds_until_ready']:.1f} s",
                    where,
                )
            ]
        spread = f"{ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})"
        lines += [row(f"{size}: seconds of training steps, streamed over in memory", spread, where)]
    shards = stream["large"]["shards"]
    rate = f"{shards['faces_a_second']:,} faces/s; {shards['bytes_a_face']:,.0f} bytes per face"
    return [*lines, row("writing shards, read back and checked; their size", rate, where)]


def parallel_rows(parallel):
    where = "results/parallel.json"
    if parallel is None:
        return [row("two processes against one: losses, figures, speed", MISSING, where)]
    losses, speed, figures = (parallel[name] for name in ("losses", "speed", "figures"))
    exact, usual = losses["float64"], losses["float32"]
    what = f"two processes against one, first {losses['steps']} losses: largest relative difference"
    told = (
        f"{exact['largest_relative_difference']:.0e} in float64, {usual['largest_relative_difference']:.1e} in float32"
    )
    lines = [
        row(what, told, where),
        row(
            "the same, one process with two threads against one: rounding alone",
            f"{usual['rounding_alone']:.1e}",
            where,
        ),
    ]
    if figures:
        gap, noise = 100 * figures["difference_of_accuracy"], 100 * figures["spread_of_seeds"]
        seeds, chance = len(figures["two_processes_by_seed"]), 100 * figures["standard_error_of_one_accuracy"]
        what = f"two processes against one: mean accuracy after {figures['epochs']} epochs, {seeds} seeds"
        told = f"{gap:+.2f} points; seeds differ by up to {noise:.2f}, one figure's standard error is {chance:.2f}"
        lines += [row(what, told, where)]
    if speed:
        ratio = speed["ratio"]
        what = "faces/s, two processes with one thread over one process with two"
        spread = f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"
        lines += [row(what, spread, where)]
    return lines


def projected(found):
    """The second table: what follows for more faces."""
    stream, cost = found["stream"], found["core_seconds_a_face"]
    lines = ["| projected | " + " | ".join(f"{size:,}" for size in SIZES) + " |", "|---" + "|---:" * len(SIZES) + "|"]

    def add(what, value):
        lines.append(row(what, *(MISSING if value is None else value(size) for size in SIZES)))

    add("pixels, GB", lambda n: short(n * FACE / 1e9))
    add("shards on disk, GB", stream and (lambda n: short(n * stream["bytes_a_face"] / 1e9)))
    known = stream and stream["memory_a_face"]
    add("memory of a process, faces in memory, GB", known and (lambda n: short(held(stream, n) / 1e9)))
    add("memory of a process, streamed, GB", stream and (lambda n: short((stream["peak_mb"] * 2**20 + order(n)) / 1e9)))
    add("steps per epoch, batches of 64", lambda n: f"{-(-n // found['batch']):,}")
    add("core-hours per epoch of `fast`", lambda n: short(n * cost / 3600))
    add(f"core-hours of `fast`, {EPOCHS} epochs", lambda n: short(EPOCHS * n * cost / 3600))
    add(
        "seconds for one process to read an epoch, without training",
        stream and (lambda n: short(n / stream["pass"])),
    )
    add(f"cores to train {EPOCHS} epochs in a day", lambda n: short(EPOCHS * n * cost / 86_400))
    rate = stream and stream["bytes_a_face"]
    add("MB/s from the disk for that", stream and (lambda n: short(EPOCHS * n * rate / 86_400 / 1e6)))
    return lines


def held(stream, faces):
    """Bytes of a process with so many faces in memory: what the smallest set took, and what each further face takes."""
    small = stream["small"]
    return small["memory"]["peak_mb_fed"] * 2**20 + (faces - small["training_faces"]) * stream["memory_a_face"]


def order(faces):
    """Bytes that the order of an epoch takes: two int64 a block."""
    return 16 * -(-faces // Blocks().block)


def constants_of_scale(found):
    """The sentences whose numbers do not depend on how many faces there are."""
    cost, batch = found["core_seconds_a_face"], found["batch"]
    step = batch * cost
    size = 4 * found["parameters"]
    bits = 2 * size * 8 / (0.1 * step) / 1e9
    return [
        f"Cost: {MILLION * cost / 3600:.2f} core-hours per million faces and epoch of `fast`, measured at"
        f" {SIZES[0]:,} faces and projected to all others.",
        f"Network: a step of {batch} faces takes one core {step:.2f} s. In a ring all-reduce each process sends 2 x"
        f" {size / 1e6:.1f} MB per step, so with {batch} faces per process and step and a link of {bits:.1f} Gbit/s"
        " each, the exchange would take a tenth of the step (projected). Fewer faces per process need more.",
    ]


def row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def short(value):
    """Three significant digits at most, no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{float(f'{value:.2g}'):.5f}".rstrip("0").rstrip(".")


def plan():
    found = constants()
    return "\n".join([*measured(found), "", *projected(found), "", *bullets(constants_of_scale(found))])


def bullets(lines):
    return [f"- {line}" for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the plan into docs/scale.md")
    parser.add_argument("--check", action="store_true", help="only compare it with docs/scale.md")
    options = parser.parse_args()
    text = DOC.read_text(encoding="utf-8")
    new = re.sub(r"(<!-- plan -->\n).*?(<!-- /plan -->)", lambda m: f"{m[1]}{plan()}\n{m[2]}", text, flags=re.S)
    if "<!-- plan -->" not in text:
        sys.exit("docs/scale.md has no markers for the plan")
    if options.check or options.write:
        update(DOC, new, options.check, f"{__spec__.name} --write")
    else:
        print(plan())


if __name__ == "__main__":
    main()
