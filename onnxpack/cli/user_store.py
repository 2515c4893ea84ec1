"""The store of whoever runs a verb, opened with a word on what its place cannot do."""

import click

from onnxpack.cache.store import Store, find_default_root
from onnxpack.core.scratch import has_locks


def open_store(*, fresh: bool = False) -> Store:
    """Return the user's store; ``fresh`` takes nothing that an earlier build made."""
    store = Store(find_default_root(), fresh)
    # It may not be there yet, and nothing is made before a spec was found right.
    place = next(path for path in (store.root, *store.root.parents) if path.is_dir())
    if not has_locks(place):
        words = f"the file system of '{store.root}' has no locks: do not run two builds at once over it"
        click.echo(f"note: {words}, or set ONNXPACK_CACHE to a folder on a local disk", err=True)
    return store
