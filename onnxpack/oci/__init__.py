"""Read and write OCI images: references, manifests, layers, layouts, archives and registries."""

GZIP, ZSTD = "gzip", "zstd"
COMPRESSIONS = (GZIP, ZSTD)
"""What a layer can be compressed with; the first one is the default, which every engine reads."""
