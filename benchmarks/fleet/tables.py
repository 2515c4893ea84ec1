"""Write what was measured of the fleet, and what follows for a larger one, as Markdown."""

from benchmarks.fleet.measure import CHANGED, CLUSTER, FRESH, ONE_BY_ONE, PARALLEL, UNCHANGED, Figures, Run
from benchmarks.fleet.simulate import SPECS, Inputs, describe_costs, simulate_all
from benchmarks.serving.goals import Goal
from benchmarks.serving.tables import write_goals

SPEEDUP, UNCHANGED_SECONDS, FRESH_SECONDS = 1.7, 2.5, 0.5
_MOST_STAGES = 8


def write_page(figures: Figures) -> str:
    """Return the text of the figures for the page."""
    return "\n\n".join(
        [
            f"{figures.cores} cores, load {figures.load:.1f} before; {figures.count} specs of six kinds, each with one "
            "target, built by the engine `oci` from an archive of the base; wheels were in uv's cache. Memory is the "
            "largest sum of all processes at one time, the cluster's included; what several share counts once.",
            write_goals(judge_goals(figures)),
            _write_runs(figures),
            _write_profile(figures),
            _write_hand(figures),
        ]
    )


def write_simulation(figures: Figures) -> str:
    """Return the text of the simulation for the page."""
    inputs = make_inputs(figures)
    costs = describe_costs(inputs)
    lines = ["| build | specs | built | workers | hours | workers are busy | what more workers would wait for |"]
    lines.append("|---|--:|--:|--:|--:|--:|---|")
    for scene, result in simulate_all(inputs):
        hours, share = f"{result.seconds / 3600:.2f}", f"{result.busy:.0%}" if scene.changed else ""
        workers = f"{scene.parts} x {scene.workers:,}" if scene.parts > 1 else f"{scene.workers:,}"
        cells = (scene.title, f"{scene.specs:,}", f"{scene.changed:,}", workers, hours, share, result.limit)
        lines.append(f"| {' | '.join(cells)} |")
    mean = sum(inputs.job_seconds) / len(inputs.job_seconds)
    told = (
        f"From the figures above: {mean:.1f} s a build, {inputs.unchanged_seconds * 1e3:.1f} ms to see that a spec is "
        f"unchanged, {inputs.client_seconds * 1e3:.0f} ms of the command's machine to send a job and put its outputs "
        f"in their place, {inputs.task_seconds * 1e3:.1f} ms of the scheduler a task."
    )
    stored = (
        f"The shared store: {inputs.shared_bytes / 1e3:,.0f} kB and {inputs.shared_objects:.0f} objects a spec. Seven "
        f"versions of {SPECS:,} specs have {costs['gigabytes']:,.0f} GB, at S3's list price "
        f"${costs['dollars a month']:,.0f} a month; to write {costs['objects of one full build']:,.0f} objects costs "
        f"${costs['dollars to write them']:,.2f}, and to read them ${costs['dollars to read them']:,.2f}."
    )
    return "\n\n".join([told, "\n".join(lines), stored])


def make_inputs(figures: Figures) -> Inputs:
    """Return what a simulation takes of the figures."""
    count, cluster = figures.count, figures.runs[CLUSTER]
    alike = max(figures.runs[UNCHANGED].seconds - figures.start_seconds, 0.0) / max(count - 1, 1)
    return Inputs(
        job_seconds=tuple(figures.job_seconds),
        unchanged_seconds=alike,
        start_seconds=figures.start_seconds,
        client_seconds=cluster.cpu_seconds / count,
        task_seconds=figures.task_seconds,
        shared_bytes=figures.shared_bytes / count,
        shared_objects=figures.shared_objects / count,
        fresh_seconds=figures.runs[FRESH].seconds / count,
    )


def judge_goals(figures: Figures) -> list[Goal]:
    """Compare the figures with what a fleet is to reach."""
    runs, count = figures.runs, figures.count
    speedup = runs[ONE_BY_ONE].seconds / runs[PARALLEL].seconds
    fresh = runs[FRESH].seconds / count
    limit = UNCHANGED_SECONDS * max(count / 100, 0.3)
    made = runs[FRESH].export_or_resolve
    return [
        Goal(f"cold in parallel: at least {SPEEDUP:g} x as fast as one by one", f"{speedup:.2f} x", speedup / SPEEDUP),
        Goal(
            f"{count} specs unchanged: at most {limit:.1f} s",
            f"{runs[UNCHANGED].seconds:.2f} s",
            limit / runs[UNCHANGED].seconds,
        ),
        Goal("one of them changed: one is built", f"{runs[CHANGED].built}", float(runs[CHANGED].built == 1)),
        Goal(
            f"a fresh machine with a warm shared store: at most {FRESH_SECONDS:g} s a spec",
            f"{fresh:.2f} s",
            FRESH_SECONDS / fresh,
        ),
        Goal("and no export, no resolving of packages there", f"{made} of them", float(made == 0)),
        Goal(
            "three workers of a cluster, one killed: every model is there",
            f"{runs[CLUSTER].built + runs[CLUSTER].unchanged} of {count}",
            (runs[CLUSTER].built + runs[CLUSTER].unchanged) / count,
        ),
    ]


def _write_runs(figures: Figures) -> str:
    lines = [
        "| run | seconds | a spec | CPU seconds | peak memory | built | unchanged |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for title, run in figures.runs.items():
        lines.append(f"| {title} | {' | '.join(_format_run(run, figures.count))} |")
    sizes = (
        f"The store has {figures.store_bytes / 1e6:,.0f} MB after the cold run, and the shared one "
        f"{figures.shared_bytes / 1e6:,.0f} MB in {figures.shared_objects:,} objects. The CPU seconds of the cluster's "
        "run are those of the command alone."
    )
    return "\n".join([*lines, "", sizes])


def _format_run(run: Run, count: int) -> tuple[str, ...]:
    return (
        f"{run.seconds:.1f}",
        f"{run.seconds / count:.2f} s",
        f"{run.cpu_seconds:.0f}",
        f"{run.peak_bytes / 1e6:,.0f} MB",
        str(run.built),
        str(run.unchanged),
    )


def _write_profile(figures: Figures) -> str:
    """Say where the time of the cold run goes, and so what more cores can help."""
    total = sum(figures.stages.values())
    shown = list(figures.stages.items())[:_MOST_STAGES]
    parts = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in shown)
    alone = sum(figures.stages.get(name, 0.0) for name in ("smoke", "batch speed", "measure"))
    cpu = figures.runs[ONE_BY_ONE]
    return (
        f"One by one, the stages take {total:,.0f} s: {parts}. What is measured runs alone, {alone / total:.0%} of the "
        f"time: builds beside it would falsify its figures. One by one, {cpu.cpu_seconds / cpu.seconds:.2f} cores are "
        "busy on the mean."
    )


def _write_hand(figures: Figures) -> str:
    hand = figures.hand
    if hand is None:
        return ""
    total, rerun = hand.estimate(figures.count), figures.runs[UNCHANGED].seconds
    return (
        f"By hand, with a script for each model and a Dockerfile: the script takes {hand.script:.1f} s (measured, one "
        f"of each kind), the layer of a model {hand.image:.3f} s, and the packages {hand.packages:.0f} s, once "
        f"(installed, compiled and packed; pulls and the engine's own work left out). That is {total:,.0f} s for "
        f"{figures.count} models, one after the other, each time anew; nothing of it is compared with its source, "
        f"measured or started, and a second run costs the same where this command takes {rerun:.1f} s."
    )
