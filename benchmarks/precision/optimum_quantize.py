"""Run where optimum-onnx and datasets are: ``KIND MODEL.onnx DATA.npz FOLDER``, KIND is dynamic or static."""

import shutil
import sys
from pathlib import Path

import numpy as np


def main(kind: str, model: str, data: str, folder: str) -> None:
    """Quantize with the settings that Optimum has for AVX-512 VNNI."""
    from datasets import Dataset
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig

    place = Path(folder).with_name(f"{Path(folder).name}-source")
    place.mkdir()
    shutil.copyfile(model, place / "model.onnx")
    (place / "config.json").write_text('{"model_type": "vit"}')  # it wants the configuration of a transformer
    quantizer = ORTQuantizer(place / "model.onnx")
    static = kind == "static"
    config = AutoQuantizationConfig.avx512_vnni(is_static=static, per_channel=False)
    ranges = None
    if static:
        dataset = Dataset.from_dict({"image": list(np.load(data)["image"])}).with_format("numpy")
        calibration = AutoCalibrationConfig.minmax(dataset)
        ranges = quantizer.fit(dataset, calibration, operators_to_quantize=config.operators_to_quantize, batch_size=8)
    quantizer.quantize(quantization_config=config, save_dir=Path(folder), calibration_tensors_range=ranges)


if __name__ == "__main__":
    main(*sys.argv[1:])
