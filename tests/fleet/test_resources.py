"""What jobs need, in the words of Dask's resources."""

import pytest

from onnxpack.core.errors import SpecError
from onnxpack.fleet.cluster import ClusterWorker, read_address
from onnxpack.fleet.job import Needs
from onnxpack.fleet.resources import format_resources, is_offered, list_resources

PLAIN = ClusterWorker("tcp://a:1", 4)
LARGE = ClusterWorker("tcp://b:1", 4, {"MEMORY": 8e9, "onnxpack-isa-avx2": 1})
GPU = ClusterWorker("tcp://c:1", 4, {"onnxpack-gpu": 1, "onnxpack-platform-linux/amd64": 1})


def test_any_worker_builds_a_job_without_needs() -> None:
    assert list_resources(Needs(platform="linux/amd64"), [PLAIN]) == {}
    assert is_offered({}, [PLAIN])
    assert not is_offered({}, [])


def test_memory_and_platform_count_where_workers_tell_theirs() -> None:
    needs = Needs(memory_bytes=9_000_000_000, platform="linux/arm64")
    assert list_resources(needs, [PLAIN]) == {}
    found = list_resources(needs, [PLAIN, LARGE, GPU])
    assert set(found) == {"MEMORY", "onnxpack-platform-linux/arm64"}
    assert not is_offered(found, [PLAIN, LARGE, GPU])


def test_a_gpu_and_an_instruction_set_are_always_required() -> None:
    needs = list_resources(Needs(gpu=True, isa="avx2"), [PLAIN])
    assert not is_offered(needs, [PLAIN, LARGE, GPU])
    assert is_offered(list_resources(Needs(isa="avx2"), [LARGE]), [PLAIN, LARGE])
    assert format_resources(needs) == "onnxpack-gpu=1 onnxpack-isa-avx2=1"


def test_many_jobs_share_an_instruction_set_and_one_has_the_gpu() -> None:
    assert list_resources(Needs(isa="avx2"), [])["onnxpack-isa-avx2"] < 0.01
    assert list_resources(Needs(gpu=True), [])["onnxpack-gpu"] == 1


@pytest.mark.parametrize("url", ["dask://host", "http://host:1", "dask://host:port", "dask://:1", "dask://h:70000", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SpecError, match="is no scheduler"):
        read_address(url)


def test_an_address_leaves_the_protocol_to_dask() -> None:
    assert read_address("dask://10.0.0.5:8786") == "10.0.0.5:8786"
    assert read_address("dask://[::1]:8786") == "[::1]:8786"
