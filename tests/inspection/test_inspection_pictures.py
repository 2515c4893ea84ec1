import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting import write_spec
from PIL import Image
from transformer_folders import draw_picture, hf

from onnxpack.inspection.draft import Draft
from onnxpack.inspection.pictures import draft_picture_steps
from onnxpack.intake.picture_reference import read_reference
from onnxpack.spec.intakes import list_intakes
from onnxpack.transforms.arrays import apply_preprocess

MOST = 1e-5
"""How much the numbers of a model's input may differ: the rounding of float32, in units of the standard deviation."""
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViTImageProcessor": {"size": {"height": 32, "width": 24}, "resample": 2},
    "ConvNextImageProcessor": {"size": {"shortest_edge": 40}, "crop_pct": 0.875, "resample": 3},
    "CLIPImageProcessor": {
        "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "resample": 3,
    },
    "BitImageProcessor": {
        "size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "resample": 3,
    },
    "DeiTImageProcessor": {
        "size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True,
        "resample": 3,
    },
    "SiglipImageProcessor": {"size": {"height": 32, "width": 32}, "resample": 3, "image_mean": [0.5] * 3},
}  # fmt: skip


@pytest.mark.parametrize(("ending", "saved_by"), [("Pil", "4.57.1"), ("", hf.__version__)])
@pytest.mark.parametrize("name", list(PROCESSORS))
def test_the_steps_make_the_numbers_that_the_folders_class_makes(
    tmp_path: Path, name: str, ending: str, saved_by: str
) -> None:
    settings = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]} | PROCESSORS[name]
    processor = getattr(hf, f"{name}{ending}")(**settings)
    processor.save_pretrained(tmp_path)
    size, steps = draft_picture_steps(Draft({}), tmp_path, {"transformers_version": saved_by}, "x")
    inputs = {"x": {"dtype": "float32", "shape": ["batch", 3, *size]}}
    (tmp_path / "m.onnx").write_bytes(b"")
    model = {"framework": "onnx", "path": "m.onnx"}
    spec = write_spec(tmp_path, model, inputs=inputs, dynamic_axes={"batch": [1, 8]}, preprocess=steps, opset=18).spec
    (intake,) = list_intakes(spec)
    for seed, (height, width) in enumerate([(50, 61), (61, 50), (33, 200), (200, 41), (64, 64), (301, 299)]):
        picture = Image.fromarray(draw_picture(height, width, seed))
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        made = apply_preprocess(spec, {"x": read_reference(intake, stream.getvalue())[None]})["x"]
        expected = processor(picture, return_tensors="np")["pixel_values"]
        assert made.shape == expected.shape
        np.testing.assert_allclose(made, expected, rtol=0, atol=MOST)
