"""What builds took is remembered: whole ones as they were, and partial ones only where they took more."""

from pathlib import Path

from onnxpack.cache.store import Store
from onnxpack.fleet.figures import Figures, keep_figures, read_figures
from onnxpack.fleet.job import Job, Options, Outcome, State


def keep(store: Store, peak: int, *cached: bool, state: State = "built") -> Figures:
    job = Job(0, Path("a.yaml"), Path("/project"), "a", "cpu", Options(Path("/dist"), "oci"))
    document = {"stages": [{"name": "export", "cached": one} for one in cached]}
    keep_figures(store, job, Outcome(0, state, document, seconds=peak / 10, peak_bytes=peak))
    return read_figures(store, Path("/project/a.yaml"), "cpu")


def test_figures_are_those_of_the_last_whole_build(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read_figures(store, Path("/project/a.yaml"), "cpu") == Figures()
    assert keep(store, 100, False) == Figures(100, 10.0)
    assert keep(store, 50, False) == Figures(50, 5.0)
    assert keep(store, 20, False, True) == Figures(50, 5.0)
    assert keep(store, 80, False, True) == Figures(80, 8.0)


def test_what_did_no_work_or_failed_says_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, 100, False)
    assert keep(store, 5, False, state="failed") == Figures(100, 10.0)
    assert keep(store, 5, True, state="unchanged") == Figures(100, 10.0)
    assert keep(store, 0, False) == Figures(100, 10.0)


def test_garbage_in_the_store_is_no_figure(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, 100, False)
    (place,) = (tmp_path / "figures").iterdir()
    place.write_bytes(b"\xff" * 30)
    assert read_figures(store, Path("/project/a.yaml"), "cpu") == Figures()
    assert keep(store, 70, False) == Figures(70, 7.0)
