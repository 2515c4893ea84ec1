"""Whatever a registry answers at any moment, a push or pull ends with the image or one error, and is never wrong."""

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disk_tools import small_disk
from faulty_registry import Fault, Faulty, faulty
from registries import PIECE, Served, add_image, running_registry
from told import Told

from onnxpack.core.errors import EngineError, Problem
from onnxpack.download.transfer import Patience
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import Descriptor
from onnxpack.oci.pull import pull, resolve
from onnxpack.oci.push import push
from onnxpack.oci.reference import ImageReference

STATUSES = (
    "200 OK", "201 Created", "202 Accepted", "204 No", "206 Partial", "302 Found", "307 x", "308 x", "304 x", "400 x",
    "401 x", "403 x", "404 x", "416 x", "429 x", "500 x", "503 x", "100 x", "101 x", "999 x", "x",
)  # fmt: skip
HEADERS = (
    "Content-Length: 4", "Content-Length: 99999999999", "Content-Length: -1", "Content-Length: 4\r\nContent-Length: 9",
    "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Content-Encoding: gzip", "Location: //",
    "Location: http://[::1", "Location: ftp://127.0.0.1/m", "Location: \x00", "Location: http:///m", "Location: m",
    "Location: http://a:b@127.0.0.1:1/m", "Location: http://127.0.0.1:99999/", "Location: /v2/x", "Location: ?",
    "Content-Range: bytes */0", "Range: 0-5", "Range: 0-70000", "Range: bytes=0-3", f"Range: 0-{'9' * 30}",
    "Retry-After: -1", "Retry-After: 1e9", "X: " + "y" * 70_000, "no colon", " folded", "Connection: upgrade",
    "WWW-Authenticate: Basic", 'WWW-Authenticate: Bearer realm="http://127.0.0.1:1/t",scope="a"',
    'WWW-Authenticate: Bearer realm="http://["', "WWW-Authenticate: Bearer", "WWW-Authenticate: \xff", "\x00\x01",
    "Docker-Content-Digest: x", "Docker-Content-Digest: \xb2", "OCI-Chunk-Min-Length: 9999999999999999",
    "Content-Type: application/vnd.oci.image.index.v1+json", "Content-Type: \xff",
)  # fmt: skip
ENTRY = f'{{"mediaType":"x","size":3,"digest":"sha256:{"0" * 64}","platform":{{"os":"linux","architecture":"amd64"}}}}'
BODIES = (
    "", "body", "4\r\nbody\r\n0\r\n\r\n", "ffffffffffffffff\r\nbody", "-4\r\nbody", "zz\r\n", '{"errors":{}}',
    '{"errors":[{"code":1,"message":["x"]}]}', '{"manifests":[]}', f'{{"manifests":[{ENTRY}]}}', "[" * 9999,
    f'{{"config":{ENTRY},"layers":[]}}', f'{{"config":{ENTRY},"layers":[{ENTRY}]}}', '{"config":5,"layers":7}',
)  # fmt: skip
REQUESTS = (
    "HEAD", "POST", "PATCH", "PUT /v2/.*/uploads", "PUT /v2/.*/manifests", "GET /v2/.*/manifests", "GET /v2/.*/blobs",
    "GET /v2/.*/uploads",
)  # fmt: skip


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_registry(tmp_path_factory.mktemp("registry")) as served:
        yield served


def make_answer(chance: random.Random) -> str:
    lines = [f"HTTP/1.{chance.choice((0, 1, 1, 1))} {chance.choice(STATUSES)}"]
    lines += [*chance.choices(HEADERS, k=chance.randrange(4)), "", ""]
    answer = list("\r\n".join(lines) + chance.choice(BODIES))
    if chance.random() < 0.3:
        answer[chance.randrange(len(answer))] = chr(chance.randrange(256))
    return "".join(answer)


def make_faults(chance: random.Random) -> list[Fault]:
    """Odd answers to some requests, now and then or always, and a break before one of them."""
    faults = [
        Fault(of, f"raw {make_answer(chance)}", chance.choice((1, 1, 2, 99)), chance.randrange(3))
        for of in chance.sample(REQUESTS, k=chance.choice((1, 1, 2)))
    ]
    return [*faults, *([Fault("PATCH", "take 30000")] if chance.random() < 0.5 else [])]


def attack(registry: Served, proxy: Faulty, layout: Layout, image: Descriptor, number: int, fresh: Layout) -> bool:
    """Push and pull an image; return whether both went well."""
    repository = f"attack/{number}"
    through = ImageReference(proxy.host, repository, "1")
    problems: list[Problem] = []
    try:
        assert push(layout, image, [through], Told()) == image.digest
        assert resolve(ImageReference(registry.host, repository, "1"), "linux/amd64").digest == image.digest
        assert pull(through, "linux/amd64", fresh, Told()) == image
        assert all(fresh.has(blob.digest) for blob in layout.read_manifest(image).layers)
    except EngineError as error:
        problems += error.problems
    assert all(problem.hint for problem in problems)
    return not problems


@pytest.mark.case("B4")
def test_a_registry_of_odd_answers_is_never_believed(
    registry: Served,
    tmp_path: Path,
    factor: int,
    count_attacks: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onnxpack.oci.upload.PIECE", PIECE)
    monkeypatch.setattr(Patience, "wait", lambda self, error, pause=None: None)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    layout = Layout(tmp_path / "images")
    attacks, well = 40 * factor, 0
    for number in range(attacks):
        chance = random.Random(number)
        with faulty(registry.host) as proxy:
            proxy.faults = make_faults(chance)
            image = add_image(layout, 1000 + number)
            well += attack(registry, proxy, layout, image, number, Layout(tmp_path / f"pulled-{number}"))
    assert 0 < well < attacks
    count_attacks(attacks)


PULL = """
import sys
from pathlib import Path
from onnxpack.cli.failure import tell
from onnxpack.core.progress import SilentProgress
from onnxpack.oci.layout import Layout
from onnxpack.oci.pull import pull
from onnxpack.oci.reference import parse_reference
try:
    pull(parse_reference(sys.argv[1]), "linux/amd64", Layout(Path(sys.argv[2])), SilentProgress())
except Exception as error:
    sys.exit(tell(error))
"""


@pytest.mark.case("B2")
def test_a_pull_onto_a_full_disk_leaves_nothing_half(
    registry: Served, tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    layout = Layout(tmp_path / "images")
    image = add_image(layout, 999)
    name = f"{registry.host}/disk/iris:1"
    push(layout, image, [ImageReference(registry.host, "disk/iris", "1")], Told())
    with small_disk(tmp_path / "disk", "size=128k") as disk:
        place = disk.place / "images"
        command = [*disk.prefix, sys.executable, "-c", PULL, name, str(place)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 5, ended.stderr
        assert f"No space left on device '{place}" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert disk.left_over() == []
        kept = list((disk.seen / "images/blobs/sha256").iterdir())
        assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in kept)
        assert len(kept) < 5
        disk.mount_again("size=1m")
        again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert again.returncode == 0, again.stderr
    count_attacks(1)
