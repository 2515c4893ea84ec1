"""Holds the C sources of the library that stands in for OpenBLAS in images, and builds it for each platform."""
