"""The images that are compared: what each is made of. Nothing here makes one."""

from dataclasses import dataclass

IRIS, RESNET = "iris forest", "ResNet-18"
MODELS = (IRIS, RESNET)
DISTROLESS, SLIM = "gcr.io/distroless/python3-debian12", "python:3.11-slim"
DOCKER, OCI = "docker", "oci"


@dataclass(frozen=True)
class Ours:
    """An image by onnxpack."""

    title: str
    engine: str
    base: str
    models: tuple[str, ...] = MODELS


@dataclass(frozen=True)
class Usual:
    """An image by a Dockerfile: Python packages, a model's file, and a main file."""

    title: str
    packages: tuple[str, ...]
    """Requirements; a name with a trailing ``==`` is taken in the version that is installed here."""
    app: str
    """The file's name in ``usual/``."""
    model_file: str
    command: tuple[str, ...]
    path: str
    """Where it answers."""
    models: tuple[str, ...] = MODELS


UVICORN = ("-m", "uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8080")
BENTO = ("-m", "bentoml", "serve", "main:Service", "--host", "0.0.0.0", "--port", "8080")
ONNX, TORCH, SKLEARN = "FastAPI, onnxruntime", "FastAPI, torch (CPU)", "FastAPI, scikit-learn"
BENTOML, MLSERVER = "BentoML", "MLServer"
OURS = (
    Ours("onnxpack, docker, distroless", DOCKER, DISTROLESS),
    Ours("onnxpack, oci, distroless", OCI, DISTROLESS),
    Ours("onnxpack, docker, slim", DOCKER, SLIM),
    Ours("onnxpack, oci, slim", OCI, SLIM),
)
SMALLEST = (OURS[0].title, OURS[1].title)
"""Ours on the default base: what the goals for sizes are about."""
USUAL = (
    Usual(ONNX, ("onnxruntime==", "fastapi", "uvicorn"), "onnx_app.py", "model.onnx", UVICORN, "/infer"),
    Usual(TORCH, ("torch==", "fastapi", "uvicorn"), "torch_app.py", "model.pt2", UVICORN, "/infer", (RESNET,)),
    Usual(
        SKLEARN, ("scikit-learn==", "joblib==", "fastapi", "uvicorn"), "sklearn_app.py", "model.joblib", UVICORN,
        "/infer", (IRIS,),
    ),
    Usual(BENTOML, ("bentoml==1.4.40", "onnxruntime=="), "bentoml_app.py", "model.onnx", BENTO, "/infer"),
    Usual(
        MLSERVER, ("mlserver==1.7.1", "onnxruntime=="), "mlserver_app.py", "model.onnx", ("main.py",),
        "/v2/models/model/infer",
    ),
)  # fmt: skip
SUBJECTS: tuple[Ours | Usual, ...] = (*OURS, *USUAL)
