"""Small archives in memory: how files come into a container, and out of it."""

import io
import tarfile


def make_archive(files: dict[str, bytes], folders: dict[str, int]) -> bytes:
    """Return a tar of ``files`` by path, below ``folders`` with their modes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in folders.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o444
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
