"""Weights of the widely copied ResNeXt-50 + LSTM code, in this suite's names and order.

That code runs ResNeXt-50's layers as `model.0 … model.7`, an LSTM of 2048 units, the mean over time, and `linear1`. Its
LSTM has no biases, because the fourth positional argument, meant as `bidirectional`, is `bias`; and the class it calls
0 is fake, 1 real.
"""

from collections.abc import Mapping

import torch

_LAYERS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
"""Of torchvision's ResNeXt-50, in the order in which the original numbers them."""

_HIDDEN = 2048


def translate(published: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], int]:
    """Return the weights under the names of `Detector`, logits in the order real, fake, and the LSTM's width.

    Missing biases become zeros. What is not of that architecture keeps its name, so that loading it says what is wrong.
    """
    weights = {}
    for key, tensor in published.items():
        first, _, rest = key.partition(".")
        number, _, inner = rest.partition(".")
        if first == "model" and number.isdecimal() and int(number) < len(_LAYERS):
            weights[f"backbone.{_LAYERS[int(number)]}.{inner}"] = tensor
        elif first == "linear1" and tensor.ndim and len(tensor) == 2:
            weights[f"linear.{rest}"] = tensor.flip(0)  # fake, real → real, fake
        else:
            weights[key] = tensor
    hidden = weights.get("lstm.weight_hh_l0", torch.empty(0, _HIDDEN)).shape[-1]
    for name in ("lstm.bias_ih_l0", "lstm.bias_hh_l0"):
        weights.setdefault(name, torch.zeros(4 * hidden))
    return weights, hidden
