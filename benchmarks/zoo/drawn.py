"""A second list of networks, drawn by rules from what libraries register, beside the first.

timm         The modules of ``timm.models`` in the order of
             ``random.Random(49).sample(sorted(modules), 98)``;
             of each the network with the fewest weights that is not in the first list; the first
             45 of at most 30 million weights.
torchvision  The same of each module of ``torchvision.models``, without video, detection and optical
             flow, whose inputs or outputs are lists or volumes.
torchaudio   Models that turn one tensor of numbers into tensors.
torch.nn     See `benchmarks.zoo.layers`.
by hand      See `benchmarks.zoo.idioms`; written before any of them was exported.

Images are 96x96 where a network can be built for them, and else the size it is registered with.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from benchmarks.zoo import idioms, layers
from benchmarks.zoo.entry import Entry

_TIMM = (
    "cpubone_nano",
    "levit_128s",
    "mobilevitv2_050",
    "inception_v3",
    "resnetv2_18",
    "repghostnet_050",
    "convmixer_768_32",
    "visformer_tiny",
    "convit_tiny",
    "hiera_tiny_224",
    "edgenext_x_small",
    "nf_regnet_b0",
    "vit_tiny_patch16_224",
    "swinv2_tiny_window16_256",
    "resnet14t",
    "regnetx_002",
    "fastvit_t8",
    "starnet_s050",
    "sam2_hiera_tiny",
    "legacy_seresnet18",
    "maxvit_pico_rw_256",
    "cait_xxs24_224",
    "dla46x_c",
    "cspnext_tiny",
    "poolformerv2_s12",
    "volo_d1_224",
    "lowformer_b0",
    "hgnetv2_b0",
    "shvit_s1",
    "vit_srelpos_small_patch16_224",
    "legacy_xception",
    "xception41p",
    "repvit_m1",
    "twins_svt_small",
    "inception_next_atto",
    "davit_tiny",
    "resnest14d",
    "gmlp_ti16_224",
    "coat_tiny",
    "swiftformer_xs",
    "densenet121",
    "pvt_v2_b0",
    "iformer_t",
    "rdnet_tiny",
    "efficientformer_l1",
)
_TORCHVISION = (
    "convnext_tiny",
    "densenet169",
    "efficientnet_b1",
    "inception_v3",
    "mnasnet0_75",
    "mobilenet_v3_large",
    "quantized_googlenet",
    "quantized_mobilenet_v2",
    "quantized_mobilenet_v3_large",
    "quantized_resnet18",
    "quantized_shufflenet_v2_x0_5",
    "resnet34",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
    "swin_t",
)
_SIDES = {"efficientformer_l1": 224}
"""Of the images of networks that cannot be built for 96."""
_SIDE = 96


class _Only(nn.Module):
    """A module of which one result is used."""

    def __init__(self, module: nn.Module, part: Any) -> None:
        super().__init__()
        self.module, self.part = module, part

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.module(*inputs)[self.part]


def _timm(name: str, side: int) -> nn.Module:
    import timm

    options: dict[str, Any] = {"pretrained": False, "num_classes": 100}
    try:
        module: nn.Module = timm.create_model(name, img_size=side, **options)
    except TypeError:  # it takes images of any size
        module = timm.create_model(name, **options)
    return module


def _torchvision(name: str) -> nn.Module:
    import torchvision

    options: dict[str, Any] = {"weights": None}
    if name.endswith(("googlenet", "inception_v3")):
        options |= {"init_weights": False, "aux_logits": False}
    if "_mobilenet_v3_large" in name and not name.startswith("quantized"):
        options |= {"weights_backbone": None}
    module: nn.Module = torchvision.models.get_model(name, **options)
    return _Only(module, "out") if "weights_backbone" in options else module


def _torchaudio(name: str) -> nn.Module:
    import torchaudio

    models = torchaudio.models
    made: dict[str, Any] = {
        "wav2letter": lambda: models.Wav2Letter(20, "mfcc", 13),
        "deepspeech": lambda: models.DeepSpeech(13, 64, 20),
        "conv_tasnet": lambda: models.ConvTasNet(2, 16, 32, 3, 32, 64, 4, 1),
        "wav2vec2": lambda: _Only(
            models.wav2vec2_model(
                extractor_mode="group_norm",
                extractor_conv_layer_config=[(16, 10, 5), (16, 3, 2), (16, 3, 2)],
                extractor_conv_bias=False,
                encoder_embed_dim=32,
                encoder_projection_dropout=0.0,
                encoder_pos_conv_kernel=8,
                encoder_pos_conv_groups=4,
                encoder_num_layers=2,
                encoder_num_heads=2,
                encoder_attention_dropout=0.0,
                encoder_ff_interm_features=64,
                encoder_ff_interm_dropout=0.0,
                encoder_dropout=0.0,
                encoder_layer_norm_first=False,
                encoder_layer_drop=0.0,
                aux_num_out=20,
            ),
            0,
        ),
        "wavernn": lambda: models.WaveRNN([2, 2], 16, 4, 1, 24, 24, 3, 13, 16, 16),
    }
    return made[name]()


_SOUNDS = {
    "wav2letter": ((13, 400),),
    "deepspeech": ((1, 20, 13),),
    "conv_tasnet": ((1, 800),),
    "wav2vec2": ((1600,),),
    "wavernn": ((1, 32), (1, 13, 10)),
}

ENTRIES = [
    *(
        Entry(f"timm/{name}", partial(_timm, name, side), ((3, side, side),))
        for name, side in ((name, _SIDES.get(name, _SIDE)) for name in _TIMM)
    ),
    *(
        Entry(f"torchvision/{name}", partial(_torchvision, name), ((3, _SIDE, _SIDE),))
        for name in _TORCHVISION
    ),
    *(
        Entry(f"torchaudio/{name}", partial(_torchaudio, name), shapes)
        for name, shapes in _SOUNDS.items()
    ),
    *layers.ENTRIES,
    *idioms.ENTRIES,
]
