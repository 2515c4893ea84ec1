"""The operators that are known to load none of NVIDIA's libraries besides cuBLAS, and thus all that are known.

Control flow is here because the operators inside it are counted by themselves. Not here are functions of operators,
such as ``GroupNormalization``: what they are made of follows from the opset. Nor are the operators that generate
text, whose kernels call what this package did not follow.
"""

from onnxpack.targets.cuda.libraries import CUDNN_OPS, FOURIER_OPS

PLAIN_OPS = frozenset(
    {
        "Abs", "Add", "Affine", "And", "BiasAdd", "BiasDropout", "BiasGelu", "BiasSplitGelu", "BitmaskBiasDropout",
        "BitmaskDropout", "BranchwiseRMSNorm", "Cast", "CausalConvWithState", "Ceil", "Clip", "ComplexMul",
        "ComplexMulConj", "Compress", "Concat", "ConcatFromSequence", "ConstantOfShape", "Cos", "Crop", "CumSum",
        "DecoderAttention", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention", "DeformConv",
        "DepthToSpace", "DequantizeLinear", "DequantizeWithOrder", "Div", "Dropout", "DynamicSlice",
        "DynamicSparseAttention", "DynamicTimeWarping", "Elu", "EmbedLayerNormalization", "EngramGate", "Equal",
        "Erf", "Exp", "Expand", "EyeLike", "FastGelu", "Flatten", "Floor", "FusedMatMul", "GatedAdd",
        "GatedDeltaNet", "GatedRMSNorm", "GatedRelativePositionBias", "Gather", "GatherBlockQuantized",
        "GatherElements", "GatherND", "Gelu", "Gemm", "GemmaRotaryEmbedding", "Greater", "GreaterOrEqual",
        "GridSample", "GroupNorm", "HardSigmoid", "HardSwish", "HyperConnectionPostMix", "HyperConnectionPreMix",
        "Identity", "If", "ImageScaler", "Inverse", "IsInf", "IsNaN", "LabelEncoder", "LayerNormalization",
        "LeakyRelu", "Less", "LessOrEqual", "LinearAttention", "LinearAttentionGate", "Log", "LogSoftmax",
        "LongformerAttention", "Loop", "LpNormalization", "MRotaryEmbedding", "MatMul",
        "MatMulBlockQuantizedFp4Weight", "MatMulBlockQuantizedFp8Weight", "MatMulBnb4", "MatMulInteger",
        "MatMulNBits", "Max", "Min", "MoE", "Mod", "Mul", "NGramHashMapping", "NGramRepeatBlock", "Neg",
        "NonMaxSuppression", "NonZero", "Not", "OneHot", "Or", "PRelu", "PackedAttention",
        "PackedMultiHeadAttention", "PackedSparseAttentionIndexer", "Pad", "ParametricSoftplus", "Pow", "QMoE",
        "QOrderedGelu", "QOrderedLayerNormalization", "QuantizeLinear", "QuickGelu", "RMSNormalization",
        "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Range", "Reciprocal",
        "RelativePositionBias", "Relu", "RemovePadding", "Reshape", "Resize", "RestorePadding", "ReverseSequence",
        "RoiAlign", "RotaryEmbedding", "Round", "ScaledSiLU", "ScaledTanh", "Scan", "Scatter", "ScatterElements",
        "ScatterND", "Selu", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
        "SequenceLength", "Shape", "Shrink", "Sigmoid", "Sign", "SimplifiedLayerNormalization", "Sin", "Size",
        "SkipGroupNorm", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "Slice", "Softmax",
        "Softplus", "Softsign", "SpaceToDepth", "SparseAttention", "SparseAttentionIndexer", "SparsePagedAttention",
        "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "TensorScatter", "ThresholdedRelu", "Tile", "TopK",
        "Transpose", "TransposeMatMul", "Trilu", "UnfoldTensor", "Unsqueeze", "Upsample",
        "VarlenCausalConvWithState", "VarlenNGramHashMapping", "Where", "Xor",
    }
)  # fmt: skip
"""Those whose kernels in onnxruntime-gpu 1.31.1 reach neither cuDNN nor cuFFT."""

CPU_OPS = frozenset(
    {
        "Acos", "Acosh", "ArrayFeatureExtractor", "Asin", "Asinh", "Atan", "Atanh", "Binarizer", "BitCast",
        "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CastMap", "CategoryMapper", "Col2Im",
        "Constant", "ConvInteger", "Cosh", "CumProd", "DFT", "Det", "DictVectorizer", "FeatureVectorizer",
        "GlobalLpPool", "Hardmax", "ImageDecoder", "Imputer", "LinearClassifier", "LinearRegressor", "LpPool",
        "MaxRoiPool", "MaxUnpool", "Mean", "MelWeightMatrix", "Multinomial", "Normalizer", "OneHotEncoder",
        "Optional", "OptionalGetElement", "OptionalHasElement", "QLinearConv", "QLinearMatMul", "RegexFullMatch",
        "STFT", "SVMClassifier", "SVMRegressor", "Scaler", "Sinh", "SplitToSequence", "StringConcat",
        "StringNormalizer", "StringSplit", "Tan", "TfIdfVectorizer", "TreeEnsemble", "TreeEnsembleClassifier",
        "TreeEnsembleRegressor", "Unique", "ZipMap",
    }
)  # fmt: skip
"""Those whose names the provider does not hold: they run on the CPU."""

KNOWN_OPS = PLAIN_OPS | CPU_OPS | CUDNN_OPS.keys() | FOURIER_OPS.keys()
