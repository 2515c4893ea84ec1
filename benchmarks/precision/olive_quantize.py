"""Run in an environment with olive-ai: ``KIND MODEL.onnx DATA.npz FOLDER``, KIND is dynamic or static."""

import sys
from pathlib import Path
from typing import Any

import numpy as np


class Rows:
    """Batches of 8, as Olive's data loaders give them: inputs and a label that is not used."""

    def __init__(self, path: str) -> None:
        self.rows = np.load(path)["image"]

    def __len__(self) -> int:
        return len(self.rows) // 8

    def __getitem__(self, index: int) -> Any:
        if index >= len(self):
            raise IndexError(index)
        return {"image": self.rows[8 * index : 8 * index + 8]}, 0


def main(kind: str, model: str, data: str, folder: str) -> None:
    """Quantize with one pass and its defaults."""
    from olive.data.config import DataComponentConfig, DataConfig
    from olive.data.registry import Registry
    from olive.workflows import run

    @Registry.register_dataset("rows")
    def rows(**_: Any) -> Rows:
        return Rows(data)

    @Registry.register_dataloader("as_they_are")
    def as_they_are(dataset: Rows, **_: Any) -> Rows:
        return dataset

    step: dict[str, Any] = {"type": "OnnxDynamicQuantization" if kind == "dynamic" else "OnnxStaticQuantization"}
    if kind == "static":
        step["data_config"] = DataConfig(
            name="rows",
            load_dataset_config=DataComponentConfig(type="rows"),
            pre_process_data_config=DataComponentConfig(type="skip_pre_process"),
            post_process_data_config=DataComponentConfig(type="skip_post_process"),
            dataloader_config=DataComponentConfig(type="as_they_are"),
        )
    run({
        "input_model": {"type": "ONNXModel", "model_path": model},
        "passes": {"quantize": step},
        "output_dir": folder,
        "cache_dir": str(Path(folder).parent / "olive-cache"),
        "log_severity_level": 3,
    })  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
