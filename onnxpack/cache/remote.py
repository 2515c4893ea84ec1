"""The store that machines share: one object for each entry and each trace, below a URL.

Objects are never changed: an entry's is named by its key, a trace's by its digest, so writers lose nothing of each
other. What arrives is verified whole before it is put in place, and whatever goes wrong is a miss, which is told once.
"""

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from onnxpack.cache.asking import Asker
from onnxpack.cache.objects import Count, Objects
from onnxpack.cache.packing import DamagedError, pack, unpack
from onnxpack.cache.patience import Patience
from onnxpack.cache.uploads import Uploads
from onnxpack.core.digests import digest
from onnxpack.core.scratch import working_folder
from onnxpack.core.text import plural

_VERSION = "v1"
"""The folder of objects of the present form: another form gets another one."""
_LARGEST_TRACE = 16 * 2**20
_MOST_TRACES = 16
"""How many traces of one request are read, the newest ones."""
_AT_ONCE = 8
_DIGEST = re.compile("[0-9a-f]{64}")
_PLACE = "remote"
"""The folder of the store in which its processes tell each other of a storage that does not answer."""


class Remote:
    """A shared store in a folder of objects; it meets ``Shared``."""

    def __init__(self, objects: Objects, url: str, root: Path, tell: Callable[[str], None], *, writes: bool) -> None:
        """``root`` is the local store's folder; ``tell`` receives a line for a person; ``writes`` allows to share."""
        self.writes = writes
        self._objects = objects
        self._root = root
        self._tell_person = tell
        self._shown = show_url(url)
        place = root / _PLACE / digest(url)
        self._reading = Asker(objects, Patience(place, self._tell))
        self._writing = Asker(objects, Patience(place.with_name(f"{place.name}.w"), self._tell_unwritten))
        self._refused: set[str] = set()
        self._uploads = Uploads(root, self._send, self._lacks)

    def fetch(self, name: str, folder: Path) -> bool:
        """Unpack the entry ``name`` into an empty folder; return whether that could be done.

        Raises:
            OSError: the folder has no room for it.
        """
        packed, place = folder / "packed", _place_entry(name)

        def download(count: Count) -> bool:
            self._objects.download(place, packed, count)
            return True

        try:
            if not self._reading.ask(download):
                return False
            unpack(packed, folder)
        except DamagedError as error:
            self.refuse(name, str(error))
            return False
        finally:
            packed.unlink(missing_ok=True)
        return True

    def refuse(self, name: str, why: str) -> None:
        """Tell that an object is damaged, once; it is replaced when it is made again."""
        if name not in self._refused:
            self._refused.add(name)
            self._tell(f"'{name}' is damaged and is not used: {why}")

    def give(self, name: str, entry: Path) -> None:
        """Share an entry in the background."""
        if self._takes():
            self._uploads.add(_place_entry(name), entry, over=name in self._refused)

    def put(self, name: str, entry: Path) -> bool:
        """Share an entry now; return whether it is there afterwards."""
        place = _place_entry(name)

        def send(packed: Path, count: Count) -> bool:
            self._objects.upload(packed, place, count)
            return True

        if not self.writes:
            return False
        if self._writing.ask(lambda _: self._objects.has(place)):
            return True
        with working_folder(self._root) as folder:
            pack(entry, folder / "packed")
            return bool(self._writing.ask(lambda count: send(folder / "packed", count)))

    def list_traces(self, name: str, base: str) -> list[bytes]:
        """Return the newest traces for a request, each encoded, the newest last."""
        folder = _place_traces(name, base)
        found = self._reading.ask(lambda _: self._objects.list(folder)) or {}
        newest = sorted((one for one in found if _DIGEST.fullmatch(one)), key=lambda one: (found[one], one))
        wanted = [f"{folder}/{one}" for one in newest[-_MOST_TRACES:]]
        if len(wanted) < 2:
            read = [self._read_trace(one) for one in wanted]
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                read = list(pool.map(self._read_trace, wanted))
        return [message for message in read if message is not None]

    def give_trace(self, name: str, base: str, trace: bytes) -> None:
        """Share a trace in the background."""
        if self._takes():
            self._uploads.add(f"{_place_traces(name, base)}/{hashlib.sha256(trace).hexdigest()}", trace)

    def finish(self) -> None:
        """Wait for what is being shared, for some seconds at most."""
        lost = self._uploads.finish()
        if lost and not self._writing.ended:
            self._tell(f"{plural(lost, 'result')} could not be put there in time: the next build does that")

    def _read_trace(self, place: str) -> bytes | None:
        message = self._reading.ask(lambda count: self._objects.read(place, _LARGEST_TRACE, count))
        if message is not None and hashlib.sha256(message).hexdigest() != place.rpartition("/")[2]:
            self.refuse(place, "its bytes are not those of its digest")
            return None
        return message

    def _takes(self) -> bool:
        """Return whether something may be put there, and can be."""
        return self.writes and not (self._reading.ended or self._writing.ended)

    def _send(self, source: Path, place: str) -> None:
        self._writing.ask(lambda count: self._objects.upload(source, place, count))

    def _lacks(self, place: str) -> bool:
        return self._writing.ask(lambda _: self._objects.has(place)) is False

    def _tell(self, words: str) -> None:
        self._tell_person(f"the shared store {self._shown}: {words}")

    def _tell_unwritten(self, words: str) -> None:
        self._tell(f"nothing is put there: {words}")


def show_url(url: str) -> str:
    """Return a URL without its login and parameters."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url


def _place_entry(name: str) -> str:
    return f"{_VERSION}/entries/{name.replace(' ', '_')}.tar.zst"


def _place_traces(name: str, base: str) -> str:
    return f"{_VERSION}/traces/{name.replace(' ', '_')}/{base}"
