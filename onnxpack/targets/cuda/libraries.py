"""Which of NVIDIA's libraries the CUDA provider links, and which it loads for which operators.

Read from the machine code of ``libonnxruntime_providers_cuda.so`` of onnxruntime-gpu 1.31.1: which kernels reach the
functions that look up a symbol of cuDNN or cuFFT, or call cuBLAS. onnxruntime's document on an optional cuDNN names the
same operators. cuDNN, cuFFT and cuBLASLt load NVRTC themselves, by its name.
"""

from collections.abc import Mapping
from types import MappingProxyType

from onnxpack.targets import Library

_PROVIDER = "libonnxruntime_providers_cuda.so"

_CUDNN = {
    "convolution": "Conv ConvTranspose ConvTransposeWithDynamicPads FusedConv NhwcConv",
    "pooling": "AveragePool GlobalAveragePool GlobalMaxPool MaxPool",
    "normalization": "BatchNormalization InstanceNormalization LRN",
    "recurrent network": "GRU LSTM RNN",
    "reduction": "ArgMax ArgMin Einsum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
    "ReduceProd ReduceSum ReduceSumSquare",
    "softmax of long rows": "BiasSoftmax",
    "attention": "Attention GroupQueryAttention MultiHeadAttention PagedAttention QAttention",
    "product of 8-bit matrices": "QOrderedAttention QOrderedLongformerAttention QOrderedMatMul QuantizeWithOrder",
}
_MATRIX_PRODUCTS = (
    "DecoderAttention DecoderMaskedSelfAttention DeformConv FusedMatMul GatedRelativePositionBias Gemm Inverse "
    "LongformerAttention MatMul MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight MatMulBnb4 MatMulInteger "
    "MatMulNBits PackedAttention PackedMultiHeadAttention TransposeMatMul"
)
_FOURIER = "Irfft Rfft"  # DFT and STFT run on the CPU


def _map_operators(words: Mapping[str, str]) -> Mapping[str, str]:
    """Return for each operator what it does; ``words`` has the operators of each."""
    return MappingProxyType({name: what for what, names in words.items() for name in names.split()})


CUDNN_OPS = _map_operators(_CUDNN)
FOURIER_OPS = _map_operators({"Fourier transform": _FOURIER})
_COMPILING_OPS = _map_operators(
    {
        "cuBLASLt compiles with it": _MATRIX_PRODUCTS,
        "cuDNN compiles with it": " ".join(CUDNN_OPS),
        "cuFFT compiles with it": _FOURIER,
    }
)

LIBRARIES = (
    Library("nvidia-cuda-runtime", "the CUDA runtime", linked_by=_PROVIDER),
    Library("nvidia-cublas", "cuBLAS", linked_by=_PROVIDER),
    Library("nvidia-curand", "cuRAND", linked_by=_PROVIDER),
    Library("nvidia-cudnn-cu13", "cuDNN", users=CUDNN_OPS),
    Library("nvidia-cufft", "cuFFT", users=FOURIER_OPS),
    Library("nvidia-cuda-nvrtc", "NVRTC", users=_COMPILING_OPS),
    Library("nvidia-nvjitlink", "nvJitLink", users=_map_operators({"cuFFT links with it": _FOURIER})),
)

FUSED_OPS = MappingProxyType({"BiasSoftmax": frozenset({"Add", "Softmax"})})
"""Without cuDNN a fused softmax of long rows would fail at its first request. Attention that is fused takes another
way where cuDNN is missing."""
