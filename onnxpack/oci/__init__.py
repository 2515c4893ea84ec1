"""Read and write OCI images: references, manifests, layers, layouts, archives and registries."""
