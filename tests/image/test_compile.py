"""What a base's Python leaves is read as an archive, and as nothing else."""

import io
import tarfile

import pytest

from onnxpack.core.errors import GateError
from onnxpack.image.archives import make_archive
from onnxpack.image.compile import read_result


def test_read_result_gives_the_files_by_name() -> None:
    assert read_result(make_archive({"a/__pycache__/b.pyc": b"1", "c": b""}, {"folder": 0o755})) == {
        "a/__pycache__/b.pyc": b"1",
        "c": b"",
    }


def test_read_result_takes_no_link_for_a_file() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("a/__pycache__/b.pyc")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(GateError, match="left no archive of compiled modules"):
        read_result(stream.getvalue())


@pytest.mark.parametrize("data", [b"", b"x" * 1000, make_archive({"a": b"1" * 1000}, {})[:700]])
def test_read_result_of_something_else_names_the_base(data: bytes) -> None:
    with pytest.raises(GateError, match="left no archive of compiled modules") as caught:
        read_result(data)
    assert "image.base" in caught.value.problems[0].hint
