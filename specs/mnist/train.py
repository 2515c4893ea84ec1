"""Train the network and write `mnist.onnx` and `mnist_3.png`.

The file is like the MNIST model of the ONNX model zoo: opset 8, a batch of 1, and the names that CNTK gave. The zoo's
own file takes its place with the same spec. The digits are scikit-learn's, made larger; the picture is drawn by pen.
"""

from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
EPOCHS = 12
THREE = [
    (38, 30), (52, 18), (74, 16), (90, 28), (88, 46), (66, 56), (88, 66), (96, 86), (82, 108), (56, 112), (34, 100),
]  # fmt: skip
"""Where the pen goes, in a picture of 128 x 136."""


class Network(nn.Module):
    """Two convolutions and a linear layer, as in the zoo."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 5, padding=2)
        self.second = nn.Conv2d(8, 16, 5, padding=2)
        self.last = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a score for each digit."""
        x = functional.max_pool2d(functional.relu(self.first(x)), 2)
        x = functional.max_pool2d(functional.relu(self.second(x)), 3)
        scores: torch.Tensor = self.last(x.flatten(1))
        return scores


def draw_digits(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits in 28 x 28, each moved, turned and scaled a little, white on black."""
    pixels, digits = load_digits(return_X_y=True)
    images = []
    for one in pixels.reshape(-1, 8, 8).astype(np.float32):
        large = cv2.resize(one * (255 / 16), (28, 28), interpolation=cv2.INTER_CUBIC).clip(0, 255)
        moved = cv2.getRotationMatrix2D((14, 14), rng.uniform(-12, 12), rng.uniform(0.65, 0.95))
        moved[:, 2] += rng.uniform(-2, 2, 2)
        images.append(cv2.warpAffine(large, moved, (28, 28)))
    return np.stack(images)[:, None], digits


def train() -> Network:
    """Train on all digits, drawn anew in each epoch."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(EPOCHS):
        images, digits = draw_digits(rng)
        for rows in np.array_split(rng.permutation(len(digits)), len(digits) // 32):
            scores = model(torch.from_numpy(images[rows]) / 255)
            loss = functional.cross_entropy(scores, torch.from_numpy(digits[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def make_file(model: Network) -> onnx.ModelProto:
    """Return the network as CNTK wrote it: pixels from 0 to 255 come in, biases are nodes of their own."""
    values = {name: value.detach().numpy() for name, value in model.named_parameters()}
    constants = {
        "Parameter5": values["first.weight"] / np.float32(255),
        "Parameter6": values["first.bias"][:, None, None],
        "Parameter87": values["second.weight"],
        "Parameter88": values["second.bias"][:, None, None],
        "Pooling160_Output_0_reshape0_shape": np.array([1, 256], np.int64),
        "Parameter193_reshape1": np.ascontiguousarray(values["last.weight"].T),
        "Parameter194": values["last.bias"][None],
    }
    pool, flat = "Pooling160_Output_0", "Pooling160_Output_0_reshape0"
    same = {"kernel_shape": [5, 5], "auto_pad": "SAME_UPPER", "strides": [1, 1], "dilations": [1, 1], "group": 1}
    node = helper.make_node
    nodes = [
        node("Conv", ["Input3", "Parameter5"], ["Convolution28_Output_0"], "Convolution28", **same),
        node("Add", ["Convolution28_Output_0", "Parameter6"], ["Plus30_Output_0"], "Plus30"),
        node("Relu", ["Plus30_Output_0"], ["ReLU32_Output_0"], "ReLU32"),
        node("MaxPool", ["ReLU32_Output_0"], ["Pooling66_Output_0"], "Pooling66", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["Pooling66_Output_0", "Parameter87"], ["Convolution110_Output_0"], "Convolution110", **same),
        node("Add", ["Convolution110_Output_0", "Parameter88"], ["Plus112_Output_0"], "Plus112"),
        node("Relu", ["Plus112_Output_0"], ["ReLU114_Output_0"], "ReLU114"),
        node("MaxPool", ["ReLU114_Output_0"], [pool], "Pooling160", kernel_shape=[3, 3], strides=[3, 3]),
        node("Reshape", [pool, f"{flat}_shape"], [flat]),
        node("MatMul", [flat, "Parameter193_reshape1"], ["Times212_Output_0"], "Times212"),
        node("Add", ["Times212_Output_0", "Parameter194"], ["Plus214_Output_0"], "Plus214"),
    ]
    graph = helper.make_graph(
        nodes,
        "CNTKGraph",
        [helper.make_tensor_value_info("Input3", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("Plus214_Output_0", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model_file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=4)
    onnx.checker.check_model(model_file)
    return model_file


def draw_three() -> Image.Image:
    """Draw a 3 with a round pen, white on black, four times as large as it is kept: edges are smooth."""
    picture = Image.new("RGBA", (512, 544), "black")
    pen = ImageDraw.Draw(picture)
    points = [(4 * x, 4 * y) for x, y in THREE]
    pen.line(points, "white", 40, joint="curve")
    for x, y in points:
        pen.ellipse((x - 20, y - 20, x + 20, y + 20), "white")
    return picture.resize((128, 136), Image.Resampling.BOX)


def main() -> None:
    """Train, and save."""
    onnx.save(make_file(train()), HERE / "mnist.onnx")
    draw_three().save(HERE / "mnist_3.png", optimize=True)


if __name__ == "__main__":
    main()
