"""Every rule against autograd, one utterance at a time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tolerances import ROUNDING
from torch import nn

from espnet_egl.errors import UnsupportedModelError
from espnet_egl.gradients.layers import find_rule
from espnet_egl.gradients.taps import AutogradNorms, TappedNorms

B, T = 3, 5


def batch_norm(channels: int) -> nn.Module:
    layer = nn.BatchNorm1d(channels)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2.0)
    return layer


def tokens() -> torch.Tensor:
    return torch.randint(0, 6, (B, T))


# name -> (layer, its input)
LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]] = {
    "linear, few positions": (lambda: nn.Linear(40, 30), lambda: torch.randn(B, T, 40)),
    "linear, many positions": (lambda: nn.Linear(3, 4), lambda: torch.randn(B, 20, 3)),
    "linear without bias": (lambda: nn.Linear(40, 30, bias=False), lambda: torch.randn(B, T, 40)),
    "linear of one vector": (lambda: nn.Linear(4, 6), lambda: torch.randn(B, 4)),
    "linear of a grid": (lambda: nn.Linear(4, 6), lambda: torch.randn(B, T, 3, 4)),
    "linear of flat frames": (lambda: nn.Linear(4, 6), lambda: torch.randn(B * T, 4)),
    "pointwise": (lambda: nn.Conv1d(4, 6, 1), lambda: torch.randn(B, 4, T)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, 2, 1), lambda: torch.randn(B, 4, 9)),
    "conv1d, dilated": (lambda: nn.Conv1d(4, 6, 3, dilation=2), lambda: torch.randn(B, 4, 9)),
    "depthwise": (lambda: nn.Conv1d(4, 4, 3, 1, 1, groups=4), lambda: torch.randn(B, 4, 9)),
    "conv2d of one channel": (lambda: nn.Conv2d(1, 5, 3, 2), lambda: torch.randn(B, 1, 9, 8)),
    "conv2d": (lambda: nn.Conv2d(8, 5, 3, 2, (1, 0)), lambda: torch.randn(B, 8, 9, 8)),
    "conv2d without bias": (
        lambda: nn.Conv2d(8, 5, 3, bias=False),
        lambda: torch.randn(B, 8, 9, 8),
    ),
    "layer norm": (lambda: nn.LayerNorm(6), lambda: torch.randn(B, T, 6)),
    "layer norm of heads": (lambda: nn.LayerNorm(6), lambda: torch.randn(B, 2, T, 6)),
    "batch norm": (lambda: batch_norm(4), lambda: torch.randn(B, 4, T)),
    "batch norm of vectors": (lambda: batch_norm(4), lambda: torch.randn(B, 4)),
    "embedding": (lambda: nn.Embedding(6, 4), tokens),
    "embedding with padding": (lambda: nn.Embedding(6, 4, padding_idx=0), tokens),
}


def check(model: nn.Module, x: torch.Tensor, names: set[str] | None = None) -> None:
    """Tapped norms of the batch against autograd's of every utterance."""
    model.eval()
    parameters = {n: p for n, p in model.named_parameters() if names is None or n in names}
    rows = len(x) // B

    def alone(b: int) -> torch.Tensor:
        return x[b * rows : (b + 1) * rows]

    with TappedNorms(model, parameters).recording(B) as recording:
        output = model(x)
        noise = torch.randn_like(output)
        found, _ = recording.backward([output], [noise])
        again, _ = recording.backward([output], [2 * noise])
    assert torch.allclose(again, 4 * found)
    for b in range(B):
        with AutogradNorms(parameters).recording(1) as plain:
            expected, _ = plain.backward([model(alone(b))], [noise[b * rows : (b + 1) * rows]])
        assert expected.item() > 0
        assert found[b].item() == pytest.approx(expected.item(), rel=ROUNDING)


@pytest.mark.parametrize("name", LAYERS)
def test_a_rule_is_autograd(name: str) -> None:
    torch.manual_seed(0)
    make, draw = LAYERS[name]
    layer = make()
    check(nn.Sequential(layer), draw())
    for parameter, _ in layer.named_parameters():
        check(nn.Sequential(layer), draw(), {f"0.{parameter}"})


class Twice(nn.Module):
    """A layer that is called several times, changed in place, and once in vain."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.layer(x)
        return torch.tanh(self.layer(x)) * self.layer(0.5 * x).relu_()


class TwiceEmbedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embedding(x) * self.embedding((x + 1) % 6).flip(1)


@pytest.mark.parametrize("name", ["linear, few positions", "conv1d", "layer norm", "batch norm"])
def test_the_gradient_of_a_layer_is_the_sum_over_its_calls(name: str) -> None:
    torch.manual_seed(0)
    make, draw = LAYERS[name]
    check(Twice(make()), draw())


def test_an_embedding_called_twice() -> None:
    torch.manual_seed(0)
    check(TwiceEmbedded(), tokens())


class InPlace(nn.Module):
    """What follows a layer writes into its output: autograd forgets hooks on such a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.first(x).relu_())
        return y.masked_fill_(x[..., :1] > 0.5, 0.0)


def test_outputs_changed_in_place() -> None:
    torch.manual_seed(0)
    check(InPlace(), torch.randn(B, T, 4))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers(kind: Any, bias: bool, layers: int, reverse: bool) -> None:
    torch.manual_seed(0)

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = kind(4, 3, layers, bias=bias, batch_first=True, bidirectional=reverse)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            directions = 2 if reverse else 1
            first = 0.3 * torch.ones(layers * directions, len(x), 3)
            state: Any = (first, 2 * first) if kind is nn.LSTM else first
            output, last = self.rnn(x, state)
            last = last[0] if kind is nn.LSTM else last
            return output + last.sum(0).mean(-1)[:, None, None]

    model = Wrapped()
    check(model, torch.randn(B, T, 4))
    for name, _ in model.named_parameters():
        check(model, torch.randn(B, T, 4), {name})


def test_adapters_of_low_rank() -> None:
    lora = pytest.importorskip("loralib")
    torch.manual_seed(0)
    layer = lora.Linear(6, 5, r=2, lora_alpha=3)
    nn.init.normal_(layer.lora_B)
    layer.weight.requires_grad = True
    for module in (layer, nn.Sequential(layer)):
        for part in module.modules():
            part.training = False
    x = torch.randn(B, T, 6)
    model = nn.Sequential(layer)
    model.eval = lambda: model  # type: ignore[method-assign]  # would merge
    check(model, x)
    check(model, x, {"0.lora_A"})
    check(model, x, {"0.lora_B", "0.bias"})


@pytest.mark.parametrize(
    "layer",
    [
        nn.Bilinear(3, 3, 3),
        nn.Embedding(4, 3, max_norm=1.0),
        nn.Conv1d(3, 3, 3, padding="same"),
        nn.Conv1d(3, 3, 3, padding=1, padding_mode="reflect"),
        nn.LayerNorm((4, 3)),
        nn.BatchNorm1d(3, track_running_stats=False),
        nn.LSTM(3, 4, proj_size=2),
    ],
)
def test_what_no_rule_knows_is_named(layer: nn.Module) -> None:
    model = nn.ModuleDict({"odd": layer})
    assert find_rule(layer, {"weight"}) is None
    with pytest.raises(UnsupportedModelError, match=rf"odd \({type(layer).__name__}: "):
        TappedNorms(model, dict(model.named_parameters()))


def test_shared_parameters_are_refused() -> None:
    """Counted at both places, their gradient would be two norms and not one of a sum."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with pytest.raises(UnsupportedModelError, match="share"):
        TappedNorms(model, dict(model.named_parameters()))


def test_parameters_that_are_not_asked_for_need_no_rule() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Bilinear(3, 3, 3))
    TappedNorms(model, {n: p for n, p in model.named_parameters() if n.startswith("0.")})


def test_no_batch_to_be_seen_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with (
        TappedNorms(model, dict(model.named_parameters())).recording(B),
        pytest.raises(UnsupportedModelError, match=r"0: no batch in \(7, 4\)"),
    ):
        model(torch.randn(7, 4))


def test_nothing_is_recorded_without_a_graph() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 3, batch_first=True))
    with TappedNorms(model, dict(model.named_parameters())).recording(B), torch.no_grad():
        output, _ = model(torch.randn(7, T, 4))
    assert not output.requires_grad
    assert SimpleNamespace(**vars(model[0])).training
