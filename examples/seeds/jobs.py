#!/usr/bin/env python3
"""The eight jobs that people did by hand before there was onnxpack, each as one spec and one command.

`scripts/seeds` runs them, one process for each. What a job shows is its last line, which goes into docs/seeds.md.
"""

import hashlib
import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from common import (
    HERE,
    OUTPUT,
    ROOT,
    build,
    load_module,
    measure_installed,
    post,
    read_report,
    run,
    serve,
    time_in_turn,
)  # fmt: skip

PORT = 18_431


def read_three_inputs() -> str:
    """1. Three inputs with two dynamic axes at opset 13, then percentages, averaged over a data loader's batches."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    folder = build(HERE / "three-inputs.yaml")
    make, rows, length = torch.Generator().manual_seed(1), 50, 300
    data = TensorDataset(
        torch.randn(rows, length, 6, generator=make),
        torch.randint(0, 40_000, (rows, length, 20), generator=make),
        torch.rand(rows, length, generator=make) * 5000,
    )
    model = load_module(folder).Model()
    loader = DataLoader(data, batch_size=16)
    percent = np.concatenate([model.predict(*(part.numpy() for part in batch)).percent for batch in loader])
    mean = np.round(percent.mean(axis=0, dtype=np.float64).astype(np.float16), 2)
    report = read_report(folder)
    assert report["model"]["opset"] == 13
    assert percent.shape == (rows, 3)
    axes = ", ".join(report["model"]["axes"])
    return f"opset 13, dynamic {axes}; mean of {rows} samples in percent, {mean.dtype}: {', '.join(map(str, mean))}"


def shrink_resnet() -> str:
    """2. ResNet-18, plain and inside a Lightning module; its image beside one with PyTorch."""
    import onnxruntime
    import torch
    from models import resnet18

    spec = HERE / "resnet18.yaml"
    plain = build(spec, image=True)
    sizes = read_report(plain)["image"]["size_bytes"]
    seconds = sum(stage["seconds"] for stage in read_report(plain)["stages"])
    wrapped = build(spec, "--set", "name=resnet18-lightning", "--set", "model.factory=models.py:wrap_resnet18")
    wrapped = wrapped.parents[1] / "resnet18-lightning/cpu"
    module, network = load_module(plain), resnet18().eval()
    model = module.Model()
    picture = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    # By names that are read from the session, and then as a class.
    session = onnxruntime.InferenceSession(plain / "model.onnx", providers=["CPUExecutionProvider"])
    (one,) = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: picture})
    with torch.no_grad():
        expected = network(torch.from_numpy(picture)).numpy()
        quick, slow = time_in_turn(lambda: model.predict(picture), lambda: network(torch.from_numpy(picture)))
    other = onnxruntime.InferenceSession(wrapped / "model.onnx", providers=["CPUExecutionProvider"])
    for answer in (one, model.predict(picture).logits, other.run(None, {"image": picture})[0]):
        np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-4)
    base = sum(layer["size_bytes"] for layer in read_report(plain)["image"]["layers"][:-2])
    torch_bytes = base + measure_installed(("torch", "torchvision")) + (plain / "model.onnx").stat().st_size
    providers = ", ".join(onnxruntime.get_available_providers())
    return (
        f"providers: {providers}; image {sizes / 1e6:.0f} MB in {seconds:.0f} s, "
        f"with PyTorch {torch_bytes / 1e6:.0f} MB ({torch_bytes / sizes:.1f} times); "
        f"{quick * 1e3:.0f} ms a picture, PyTorch {slow * 1e3:.0f} ms"
    )


def ask_forest() -> str:
    """3. A random forest on iris, saved twice; three rows' labels, then eight threads over one session."""
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    data, labels = load_iris(return_X_y=True)
    train, test, right, truth = train_test_split(data.astype(np.float32), labels, random_state=0)
    forest = RandomForestClassifier(random_state=0).fit(train, right)
    path = OUTPUT / "forest.joblib"
    joblib.dump(forest, path)
    plain = path.stat().st_size
    joblib.dump(forest, path, compress=9)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    folder = build(HERE / "forest.yaml", "--set", f"model.sha256={digest}")
    model = load_module(folder).Model(threads=1)
    assert (model.predict(test).label == forest.predict(test)).all()
    three = ", ".join(map(str, model.predict(test[:3]).label))
    requests = [test[start : start + 4] for start in range(0, 36, 4)] * 50
    answers = np.concatenate([answer.label for answer in model.map(requests, threads=8)])
    assert (answers == np.tile(forest.predict(test[:36]), 50)).all()
    score = float((forest.predict(test) == truth).mean())
    return (
        f"{plain / 1e3:.0f} kB, compressed {path.stat().st_size / 1e3:.0f} kB; labels {three}; "
        f"accuracy {score:.2f} in both; {len(requests)} requests of 8 threads over one session, all right"
    )


def fuse_repvit() -> str:
    """4. RepViT of timm from a checkpoint, fused; output folder and name are options; 100 runs of one picture."""
    import onnxruntime
    import torch
    from models import repvit

    network = repvit().train()  # as scripts leave it that forget eval()
    torch.save({"model": network.state_dict(), "epoch": 3}, OUTPUT / "repvit.pth")
    elsewhere = OUTPUT / "elsewhere"
    run("build", HERE / "repvit.yaml", "--set", "name=repvit-fused", "--target", "cpu", "--until", "optimize",
        "--output", elsewhere)  # fmt: skip
    run("build", HERE / "repvit.yaml", "--target", "cuda", "--until", "export", "--output", OUTPUT)
    (file,) = elsewhere.rglob("model.onnx")
    on_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if on_gpu else ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(file, providers=providers)
    picture = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(session.run(None, {"image": picture})[0], expected, rtol=1e-3, atol=1e-4)
    (seconds,) = time_in_turn(lambda: session.run(None, {"image": picture}), count=100)
    where = "a GPU" if on_gpu else "the CPU, since no GPU is here"
    return (
        f"{file.stat().st_size / 1e6:.0f} MB without a batch norm; 100 runs on {where}, median {seconds * 1e3:.0f} ms"
    )


def classify_picture() -> str:
    """5. ResNet-50: a picture's file in, the likeliest classes out."""
    import torch
    from models import resnet50
    from PIL import Image

    folder = build(HERE / "resnet50.yaml", image=True)
    picture = make_photo()
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    with serve(folder, PORT) as address:
        answer = post(f"{address}/predict", file.getvalue(), "image/jpeg")
    # The recipe of torchvision's documents: the shorter side to 256, the middle 224 x 224, then the mean of ImageNet.
    seen = Image.open(file).convert("RGB")
    width, height = seen.size
    short = 256 / min(width, height)
    seen = seen.resize((int(width * short), int(height * short)), Image.Resampling.BILINEAR)
    left, top = round((seen.width - 224) / 2), round((seen.height - 224) / 2)
    tensor = np.asarray(seen.crop((left, top, left + 224, top + 224)), np.float32) / 255
    tensor = (tensor - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        expected = resnet50().eval()(torch.from_numpy(tensor.transpose(2, 0, 1)[None].astype(np.float32))).softmax(1)
    best = expected[0].topk(5)
    return f"{len(file.getvalue()) / 1e3:.0f} kB of JPEG in, class {best.indices[0]} out: {find_classes(answer, best)}"


def find_classes(answer: Any, best: Any) -> str:
    """Compare the answer's classes and scores with those of the network itself; return them as text."""
    classes, scores = ([one[key] for one in answer["best"]] for key in ("index", "value"))
    assert classes == best.indices.tolist(), (classes, best)
    np.testing.assert_allclose(scores, best.values.numpy(), rtol=1e-2)
    return ", ".join(f"{number} ({score:.4f})" for number, score in zip(classes, scores, strict=True))


def make_photo() -> Any:
    """Return a picture with edges, colours and noise, 500 x 375 pixels."""
    from PIL import Image

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:375, :500]
    waves = np.stack([np.sin(rows / 20), np.cos(columns / 30), np.sin((rows + columns) / 40)], axis=-1)
    return Image.fromarray(np.clip(waves * 90 + 128 + rng.normal(0, 12, (375, 500, 3)), 0, 255).astype(np.uint8))


def read_digit() -> str:
    """6. The zoo's MNIST file, opset 8: a digit's PNG in, its label out."""
    folder = build(ROOT / "specs/mnist/spec.yaml", image=True)
    with serve(folder, PORT) as address:
        answer = post(f"{address}/predict", (ROOT / "specs/mnist/mnist_3.png").read_bytes(), "image/png")
    assert answer["digit"] == "three", answer
    return f"mnist_3.png in, '{answer['digit']}' out, with probability {answer['probabilities']['three']:.4f}"


def move_to_tensorflow() -> str:
    """7. MNIST in torch, trained, saved, loaded, exported, asked with a PNG; then TensorFlow's, with the same names."""
    import torch
    from PIL import Image

    network, accuracy = train_mnist()
    torch.save(network.state_dict(), OUTPUT / "mnist.pt")
    folder = build(HERE / "mnist.yaml", image=True)
    picture, truth = make_digits(1, 7)[0][0], make_digits(1, 7)[1][0]
    image = Image.fromarray(picture).resize((90, 110)).convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    with serve(folder, PORT) as address:
        answer = post(f"{address}/predict", file.getvalue(), "image/png")
    seen = np.asarray(image.convert("L").resize((28, 28), Image.Resampling.BILINEAR), np.float32)[None, None] / 255
    with torch.no_grad():
        expected = int(network.eval()(torch.from_numpy(seen)).argmax())
    assert answer["digit"] == expected, (answer, expected)
    run("build", HERE / "mnist.yaml", "--set", "name=mnist-plain", "--set", "preprocess=[]", "--set", "postprocess=[]",
        "--until", "verify", "--output", OUTPUT)  # fmt: skip
    source = next((OUTPUT / "mnist-plain").rglob("model.onnx"))
    run("convert", source, "--to", "savedmodel", "--output", OUTPUT / "mnist-savedmodel")
    return (
        f"accuracy {accuracy:.2f} after two epochs; a {truth} in, {answer['digit']} out; "
        "as a SavedModel the input is still 'image', and the answers agree"
    )


def make_digits(count: int, seed: int) -> tuple[Any, Any]:
    """Return pictures of digits, uint8 [count, 28, 28], and which they are: those of scikit-learn, moved and scaled."""
    from PIL import Image
    from sklearn.datasets import load_digits

    rng, found = np.random.default_rng(seed), load_digits()
    chosen = rng.integers(0, len(found.images), count)
    pictures = np.zeros((count, 28, 28), np.uint8)
    for row, picture in zip(pictures, found.images[chosen], strict=True):
        size, (top, left) = int(rng.integers(18, 25)), rng.integers(0, 4, 2)
        small = Image.fromarray((picture * 15).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        row[top : top + size, left : left + size] = np.asarray(small)[: 28 - top, : 28 - left]
    return pictures, found.target[chosen]


def train_mnist() -> tuple[Any, float]:
    """Train two epochs of plain SGD; return the network, loaded anew from its state dict, and its accuracy."""
    import torch
    from models import MnistNet

    torch.manual_seed(0)
    network = MnistNet()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    pictures, labels = (torch.from_numpy(part) for part in make_digits(6000, 0))
    for _ in range(2):
        for start in range(0, len(pictures), 32):
            batch = pictures[start : start + 32, None].float() / 255
            loss = torch.nn.functional.nll_loss(network(batch), labels[start : start + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    again = MnistNet()
    again.load_state_dict(network.state_dict())
    test, truth = make_digits(500, 1)
    with torch.no_grad():
        found = again.eval()(torch.from_numpy(test[:, None]).float() / 255).argmax(1).numpy()
    return again, float((found == truth).mean())


def leave_keras() -> str:
    """8. Keras to ONNX to the runtime, without TensorFlow in the image."""
    folder = build(ROOT / "specs/keras/spec.yaml")
    from sklearn.datasets import load_digits

    found = load_digits()
    answer = load_module(folder).Model().predict(found.images[:64, ..., None].astype(np.float32))
    score = float((answer.probabilities.argmax(1) == found.target[:64]).mean())
    largest = read_report(folder)["parity"]["max_abs_diff"]
    return f"largest difference to Keras {largest:.0e}; accuracy {score:.2f} on 64 digits, on onnxruntime alone"


JOBS: dict[str, Callable[[], str]] = {
    "1": read_three_inputs,
    "2": shrink_resnet,
    "3": ask_forest,
    "4": fuse_repvit,
    "5": classify_picture,
    "6": read_digit,
    "7": move_to_tensorflow,
    "8": leave_keras,
}


def main() -> None:
    """Run the job whose number is given."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE))
    print(JOBS[sys.argv[1]]())


if __name__ == "__main__":
    main()
