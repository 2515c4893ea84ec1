"""Measure an image's layers: as files, and as a registry holds them."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.oci import GZIP, ZSTD
from onnxpack.oci.config import read_diff_ids
from onnxpack.oci.copies import import_saved
from onnxpack.oci.layers import measure_layer
from onnxpack.oci.layout import Layout


@dataclass(frozen=True)
class LayerSizes:
    """A layer's bytes: of its files, and of its compressed archives."""

    plain: int
    gzip: int
    zstd: int


def measure_layers(layout: Layout, archive: Path) -> list[LayerSizes]:
    """Return the sizes of the layers of a saved image; a layer that the layout has is not compressed again."""
    sizes: dict[str, list[int]] = {}
    plain: list[int] = []
    for compression in (GZIP, ZSTD):
        manifest = layout.read_manifest(import_saved(layout, archive, compression))
        sizes[compression] = [blob.size for blob in manifest.layers]
        diff_ids = read_diff_ids(layout.read(manifest.config.digest))
        pairs = zip(manifest.layers, diff_ids, strict=True)
        plain = [measure_layer(layout, layout, blob, diff_id).size for blob, diff_id in pairs]
    return [LayerSizes(*three) for three in zip(plain, sizes[GZIP], sizes[ZSTD], strict=True)]
