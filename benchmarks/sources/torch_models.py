"""The torch architectures of docs/sources.md: small configurations, random weights from a fixed seed.

Each function makes a module. ``MODELS`` says for each what goes in, with the names of dynamic axes in its shapes.
Models of torchvision, timm and transformers import their package inside; without it their rows say so.
"""

from typing import Any

import torch
from torch import Tensor, nn

IMAGE = {"image": {"dtype": "float32", "shape": ["batch", 3, 64, 64]}}
SMALL_IMAGE = {"image": {"dtype": "float32", "shape": ["batch", 3, 32, 32]}}
SERIES = {"x": {"dtype": "float32", "shape": ["batch", "seq", 8]}}
TOKENS = {
    "input_ids": {"dtype": "int64", "shape": ["batch", "seq"], "range": [0, 99]},
    "attention_mask": {"dtype": "int64", "shape": ["batch", "seq"], "range": [1, 1]},
}
AXES = {"batch": [1, 3], "seq": [2, 9]}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("torch", {"x": {"dtype": "float32", "shape": ["batch", 8]}}),
    "cnn": ("torch", SMALL_IMAGE),
    "autoencoder": ("torch", SMALL_IMAGE),
    "unet": ("torch", SMALL_IMAGE),
    "lstm": ("torch", SERIES),
    "gru": ("torch", SERIES),
    "tcn": ("torch", SERIES),
    "transformer_encoder": ("torch", SERIES),
    "two_inputs": ("torch", {**SERIES, "ids": {"dtype": "int64", "shape": ["batch"], "range": [0, 9]}}),
    "resnet18": ("torchvision", IMAGE),
    "mobilenet_v3_small": ("torchvision", IMAGE),
    "efficientnet_b0": ("torchvision", IMAGE),
    "densenet121": ("torchvision", IMAGE),
    "vit_tiny": ("timm", IMAGE),
    "convnext_atto": ("timm", IMAGE),
    "mixer": ("timm", IMAGE),
    "bert": ("transformers", TOKENS),
    "distilbert": ("transformers", TOKENS),
    "gpt2": ("transformers", TOKENS),
    "t5_encoder": ("transformers", TOKENS),
    "vit": ("transformers", {"pixel_values": {"dtype": "float32", "shape": ["batch", 3, 32, 32]}}),
}
_ENCODER = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def make(name: str) -> nn.Module:
    """The architecture called ``name``, with the same weights every time."""
    if MODELS[name][0] != "torch":  # transformers looks for torchvision, too
        _require_torchvision()
    torch.manual_seed(0)
    module: nn.Module = globals()[name]()
    if name in ("mobilenet_v3_small", "efficientnet_b0", "mixer"):
        _wake(module, torch.randn(8, 3, 64, 64))
    return module


def _wake(module: nn.Module, images: Tensor) -> None:
    """Gives a fresh network the statistics and the head of a trained one: else all its answers are nearly zero."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the mean over what it sees
    for parameter in module.parameters():
        if parameter.ndim == 2 and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        module.train()(images)
    module.eval()


def _require_torchvision() -> None:
    """Imports torchvision, also where its compiled part was built for another torch: classifiers use none of it."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        for name in ("nms", "qnms", "roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d"):
            for operator in (name, f"_{name}_backward"):
                torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")


def mlp() -> nn.Module:
    """Three linear layers."""
    return nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.LayerNorm(32), nn.Dropout(), nn.Linear(32, 4), nn.Softmax(1))


def cnn() -> nn.Module:
    """Convolutions, batch norm and pooling."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def autoencoder() -> nn.Module:
    """Strided convolutions down, transposed ones up."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, 2), nn.Sigmoid(),
    )  # fmt: skip


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.up = nn.Conv2d(24, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        wide = self.down(image)
        deep = self.deep(nn.functional.max_pool2d(wide, 2))
        deep = nn.functional.interpolate(deep, scale_factor=2.0, mode="bilinear", align_corners=False)
        answer: Tensor = self.up(torch.cat([wide, deep], 1))
        return answer


def unet() -> nn.Module:
    """One level with a skip connection and bilinear upsampling."""
    return _UNet()


class _Recurrent(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        answers, state = self.layer(x)
        return self.head(answers), state


def lstm() -> nn.Module:
    """Two layers in both directions; gives its state too."""
    return _Recurrent(nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True))


def gru() -> nn.Module:
    """One layer in both directions; gives its state too."""
    return _Recurrent(nn.GRU(8, 16, batch_first=True, bidirectional=True))


class _Tcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(8, 8, 3, dilation=2**depth) for depth in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        for depth, layer in enumerate(self.layers):
            y = y + torch.relu(layer(nn.functional.pad(y, (2 * 2**depth, 0))))
        return y.mean(2)


def tcn() -> nn.Module:
    """Causal dilated convolutions over time."""
    return _Tcn()


def transformer_encoder() -> nn.Module:
    """Torch's own, two layers."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class _TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.head = nn.Bilinear(8, 8, 1)

    def forward(self, ids: Tensor, x: Tensor) -> dict[str, Tensor]:
        series = x.mean(1)
        return {"score": torch.sigmoid(self.head(series, self.table(ids))).squeeze(-1), "mean": series}


def two_inputs() -> nn.Module:
    """A series and an id, by name, to a dictionary."""
    return _TwoInputs()


def resnet18() -> nn.Module:
    """Torchvision's."""
    return _torchvision("resnet18")


def mobilenet_v3_small() -> nn.Module:
    """Torchvision's."""
    return _torchvision("mobilenet_v3_small")


def efficientnet_b0() -> nn.Module:
    """Torchvision's."""
    return _torchvision("efficientnet_b0")


def densenet121() -> nn.Module:
    """Torchvision's DenseNet with short blocks."""
    from torchvision.models.densenet import DenseNet

    module: nn.Module = DenseNet(growth_rate=8, block_config=(2, 2, 2, 2), num_init_features=16, num_classes=10)
    return module


def _torchvision(name: str) -> nn.Module:
    import torchvision

    module: nn.Module = getattr(torchvision.models, name)(weights=None, num_classes=10)
    return module


def vit_tiny() -> nn.Module:
    """timm's, with two blocks on 64 x 64."""
    return _timm("vit_tiny_patch16_224", img_size=64, depth=2)


def convnext_atto() -> nn.Module:
    """Timm's."""
    return _timm("convnext_atto")


def mixer() -> nn.Module:
    """Timm's MLP-Mixer."""
    return _timm("mixer_s16_224", img_size=64)


def _timm(name: str, **options: Any) -> nn.Module:
    import timm

    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=10, **options)
    return module


def bert() -> nn.Module:
    """An encoder with two layers."""
    return _transformers("Bert", "Model", **_ENCODER)


def distilbert() -> nn.Module:
    """An encoder with two layers."""
    return _transformers("DistilBert", "Model", vocab_size=100, dim=32, n_layers=2, n_heads=4, hidden_dim=64)


def gpt2() -> nn.Module:
    """A decoder with two layers, without its cache."""
    options = {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
    return _transformers("GPT2", "LMHeadModel", use_cache=False, bos_token_id=0, eos_token_id=0, **options)


def t5_encoder() -> nn.Module:
    """The encoder alone, two layers."""
    return _transformers("T5", "EncoderModel", vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)


def vit() -> nn.Module:
    """Transformers' vision transformer with two layers on 32 x 32."""
    options = {name: size for name, size in _ENCODER.items() if name != "vocab_size"}
    return _transformers("ViT", "Model", image_size=32, patch_size=8, **options)


def _transformers(family: str, kind: str, **options: Any) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{family}Config")(**options)
    module: nn.Module = getattr(transformers, f"{family}{kind}")(config)
    return module
