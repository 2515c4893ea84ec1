from pathlib import Path

import pytest
from onnx_examples import RELU, make_model

from onnxpack.core.errors import SpecError
from onnxpack.inspection.bundle import bundle_facts, is_bundle

DOCKERFILE = """\
# COPY only
FROM base:1

ENV A=1 \\
    B="two words"
COPY rootfs/runtime/ /
LABEL title="an \\"iris\\" for 3 \\$" \\
      empty=""
USER 65532:65532
ENTRYPOINT ["python3", "-m", "server"]
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    app = tmp_path / "context/rootfs/model/opt/onnxpack/app"
    info = tmp_path / "context/rootfs/runtime/opt/onnxpack/lib/h11-0.16.0.dist-info"
    app.mkdir(parents=True)
    info.mkdir(parents=True)
    (app / "model.onnx").write_bytes(make_model(RELU).SerializeToString())
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: h11\nVersion: 0.16.0\n\nVersion: of the text\n")
    (info.parent / "h11.py").write_bytes(bytes(5000))
    (tmp_path / "context/Dockerfile").write_text(DOCKERFILE)
    return tmp_path


@pytest.mark.parametrize("folder", [".", "context"])
def test_a_bundle_and_its_context_are_read(bundle: Path, folder: str) -> None:
    assert is_bundle(bundle / folder)
    facts = bundle_facts(bundle / folder)
    docker = facts["dockerfile"]
    assert docker["base"] == "base:1"
    assert docker["env"] == {"A": "1", "B": "two words"}
    assert docker["labels"] == {"title": 'an "iris" for 3 $', "empty": ""}
    assert docker["user"] == "65532:65532"
    assert docker["healthcheck"] is None
    assert facts["packages"] == [{"name": "h11", "version": "0.16.0"}]
    runtime, model = facts["layers"]
    assert (runtime["name"], runtime["files"]) == ("runtime", 2)
    assert runtime["largest"][0] == {"path": "opt/onnxpack/lib/h11.py", "size_bytes": 5000}
    assert (model["name"], model["files"]) == ("model", 1)
    assert facts["model"]["ops"] == {"Relu": 1}
    assert facts["report"] is None


def test_a_build_that_stopped_early_has_only_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(make_model(RELU).SerializeToString())
    assert is_bundle(tmp_path)
    facts = bundle_facts(tmp_path)
    assert (facts["dockerfile"], facts["layers"], facts["packages"]) == (None, [], [])


def test_a_dockerfile_that_is_not_ours_is_refused(bundle: Path) -> None:
    (bundle / "context/Dockerfile").write_text('FROM x\nLABEL a="never closed\n')
    with pytest.raises(SpecError, match="quotes do not close"):
        bundle_facts(bundle)
