"""Compare the figures with what images are to reach."""

from benchmarks.image.figures import (
    CHANGED,
    CHANGED_PACKING,
    CHANGED_STAGE,
    COLD,
    COLD_STAGE,
    MODEL_BYTES,
    OPENBLAS,
    PLAIN,
    PUSH_BYTES,
    RUNTIME_GZIP,
    RUNTIME_PLAIN,
    RUNTIME_ZSTD,
    SAME,
    Figures,
)
from benchmarks.image.subjects import IRIS, MODELS, ONNX, OURS, RESNET, SMALLEST, TORCH
from benchmarks.serving.goals import Goal

USUAL_SHARE, USUAL_SHARE_OPENBLAS, TORCH_SHARE = 0.36, 0.42, 0.12
IMAGE_BYTES = 98e6
RUNTIME = ((RUNTIME_PLAIN, "uncompressed", 54e6), (RUNTIME_GZIP, "gzip", 18.5e6), (RUNTIME_ZSTD, "zstd", 15.5e6))
REBUILD_SHARE, SAME_SECONDS, PUSH_EXTRA, ENGINE_SHARE = 0.25, 1.2, 10_000, 0.5
NOT_MEASURED = "not measured"


def judge_goals(figures: Figures) -> list[Goal]:
    """Return all goals, each with what was measured."""
    return [
        *judge_sizes(figures),
        *judge_layers(figures),
        *(judge_rebuild(figures, model) for model in MODELS),
        judge_repeat(figures),
        *(judge_push(figures, title, model) for title in SMALLEST for model in MODELS),
        *(judge_engines(figures, model, measure) for model in MODELS for measure in (COLD_STAGE, CHANGED_STAGE)),
    ]


def judge_sizes(figures: Figures) -> list[Goal]:
    """Compare our image on the default base with the usual ones."""
    ours = SMALLEST[0]
    blas = any(figures.find(title, model, OPENBLAS) for title in SMALLEST for model in MODELS)
    share, words = (USUAL_SHARE_OPENBLAS, ", which has OpenBLAS,") if blas else (USUAL_SHARE, "")
    goals = [
        judge_share(
            f"{model}: the image{words} has at most {share:g} x the bytes of {ONNX}",
            share,
            (figures.find(ours, model, PLAIN), figures.find(ONNX, model, PLAIN)),
        )
        for model in MODELS
    ]
    pair = figures.find(ours, RESNET, PLAIN), figures.find(TORCH, RESNET, PLAIN)
    goals.append(judge_share(f"{RESNET}: at most {TORCH_SHARE:g} x the bytes of {TORCH}", TORCH_SHARE, pair))
    return goals


def judge_share(title: str, most: float, pair: tuple[float | None, float | None], unit: str = "MB") -> Goal:
    """Compare a ratio of two figures, of bytes or seconds, with the highest that is allowed."""
    ours, other = pair
    if ours is None or not other:
        return Goal(title, NOT_MEASURED, None)
    scale = 1e6 if unit == "MB" else 1.0
    told = f"{ours / other:.3f} ({ours / scale:.2f}; {other / scale:.2f} {unit})"
    return Goal(title, told, most / max(ours / other, 1e-9))


def judge_limit(title: str, most: float, found: float | None, unit: str) -> Goal:
    """Compare a figure, of bytes or seconds, with the highest that is allowed."""
    if found is None:
        return Goal(title, NOT_MEASURED, None)
    told = f"{found / 1e6:.1f} MB" if unit == "MB" else f"{found:.2f} {unit}"
    return Goal(title, told, most / max(found, 1e-9))


def judge_layers(figures: Figures) -> list[Goal]:
    """Compare the image of the forest, and the layer that a fleet shares, with their limits."""
    title = f"{IRIS}: the whole image has at most {IMAGE_BYTES / 1e6:g} MB"
    goals = [judge_limit(title, IMAGE_BYTES, figures.find(SMALLEST[0], IRIS, PLAIN), "MB")]
    for measure, words, most in RUNTIME:
        text = f"the layer of the packages has at most {most / 1e6:g} MB, {words}"
        goals.append(judge_limit(text, most, figures.find(SMALLEST[1], IRIS, measure), "MB"))
    return goals


def judge_rebuild(figures: Figures, model: str) -> Goal:
    """Compare our build after a model change with the usual one, which neither exports nor tests anything."""
    ours, usual = figures.find(SMALLEST[0], model, CHANGED), figures.find(ONNX, model, CHANGED)
    title = f"{model}: a build after a model change takes at most {REBUILD_SHARE:g} x that of {ONNX}"
    goal = judge_share(title, REBUILD_SHARE, (ours, usual), "s")
    cold, packing = figures.find(ONNX, model, COLD), figures.find(SMALLEST[0], model, CHANGED_PACKING)
    if ours is None or packing is None or not cold:
        return goal
    told = f"{goal.measured}, {packing:.2f} s of it packing; {ours / cold:.2f} x if the model is copied before pip runs"
    return Goal(title, told, goal.reached)


def judge_repeat(figures: Figures) -> Goal:
    """Compare the slowest of our builds of nothing new with its limit."""
    worst = figures.find_worst(SAME, [subject.title for subject in OURS])
    title = f"a build of nothing new takes at most {SAME_SECONDS:g} s, whatever the engine, base and model"
    return judge_limit(title, SAME_SECONDS, worst, "s")


def judge_push(figures: Figures, subject: str, model: str) -> Goal:
    """Compare what a push sends after a model change with the model's own size."""
    title = f"{model}: a push after a model change sends at most the model + 10 kB ({subject})"
    sent, size = figures.find(subject, model, PUSH_BYTES), figures.find(subject, model, MODEL_BYTES)
    if sent is None or size is None:
        return Goal(title, NOT_MEASURED, None)
    told = f"{sent / 1e3:,.0f} kB; the model has {size / 1e3:,.0f} kB"
    return Goal(title, told, (size + PUSH_EXTRA) / max(sent, 1))


def judge_engines(figures: Figures, model: str, measure: str) -> Goal:
    """Compare the stage `image` of the engine without a daemon with that of Docker's."""
    docker, oci = (figures.find(title, model, measure) for title in SMALLEST)
    title = f"{model}: the {measure.removesuffix(', s')} takes at most {ENGINE_SHARE:g} x the time with the engine oci"
    return judge_share(title, ENGINE_SHARE, (oci, docker), "s")
