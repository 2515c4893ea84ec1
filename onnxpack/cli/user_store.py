"""The store of whoever runs a verb, opened with a word on what its place cannot do."""

import click

from onnxpack.cache.store import Store
from onnxpack.core.scratch import has_locks


def open_store(*, fresh: bool = False) -> Store:
    """Return the user's store; ``fresh`` takes nothing that an earlier build made.

    It is finished when the verb ends.

    Raises:
        SpecError: a variable of the store says something that cannot be meant.
        SourceError: the shared store needs a package that is not installed.
    """
    from onnxpack.pipeline import stores

    store = stores.open_store(fresh=fresh, tell=_tell)
    click.get_current_context().call_on_close(store.finish)
    # It may not be there yet, and nothing is made before a spec was found right.
    place = next(path for path in (store.root, *store.root.parents) if path.is_dir())
    if not has_locks(place):
        words = f"the file system of '{store.root}' has no locks: do not run two builds at once over it"
        _tell(f"{words}, or set ONNXPACK_CACHE to a folder on a local disk")
    return store


def _tell(line: str) -> None:
    click.echo(f"note: {line}", err=True)
