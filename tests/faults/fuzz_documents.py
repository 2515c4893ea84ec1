"""Every kind of document that this package reads and did not write, or that somebody may have changed since."""

from fuzz_arrays import ARRAYS
from fuzz_kept import KEPT
from fuzz_onnx import ONNX
from fuzz_specs import SPECS
from fuzz_texts import TEXTS
from fuzz_tools import Kind
from fuzz_weights import WEIGHTS

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*SPECS, *TEXTS, *KEPT, *ARRAYS, *WEIGHTS, *ONNX)}
