"""LSTM and GRU layers under watch.

Axes: B utterances, T positions, I inputs, H hidden units, G = 4 H (LSTM) or 3 H (GRU) gates.

PyTorch runs a recurrent layer in one call that hides its gates. Seen from outside, it is
a linear layer W_ih x + b_ih of all positions, followed by the recurrence. The linear layer
is therefore computed first, and the recurrence is PyTorch's own call with an identity in
W_ih's place: the gradient delta (B, T, G) at the linear layer's outputs is the one at the
gates, and

    dW_ih = sum_t delta_t x_t^T        dW_hh = sum_t delta'_t h_{t-1}^T

with delta' = delta, but for the GRU's candidate, whose hidden part is gated by r:
delta'_n = r delta_n. No loop over positions is needed.
"""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from espnet_egl.gradients.layers import Linear


def is_recurrent(module: torch.nn.Module) -> bool:
    """Whether :class:`Recurrent` can stand in for the module."""
    return isinstance(module, torch.nn.LSTM | torch.nn.GRU) and not getattr(module, "proj_size", 0)


class Recurrent:
    """Stands in for the ``forward`` of one recurrent module while it is recorded.

    Args:
        recording: Where calls are noted.
        name: The module's.
        module: ``torch.nn.LSTM`` or ``torch.nn.GRU``.
        names: The parameters that are asked for.
    """

    def __init__(self, recording: Any, name: str, module: Any, names: Collection[str]):
        self.recording = recording
        self.name = name
        self.module = module
        self.names = names

    def __call__(self, inputs: Any, hx: Any = None) -> Any:
        """As the module's own; of a packed batch no state is returned."""
        module = self.module
        if not torch.is_grad_enabled():
            return type(module).forward(module, inputs, hx)
        lengths = None
        if isinstance(inputs, PackedSequence):
            x, lengths = pad_packed_sequence(inputs, batch_first=True)
        else:
            x = inputs if module.batch_first else inputs.transpose(0, 1)
        states: list[Any] = []
        for layer in range(module.num_layers):
            outputs = []
            for direction in range(2 if module.bidirectional else 1):
                index = len(states)
                initial = None if hx is None else _pick(hx, index)
                output, state = self._one(x, lengths, layer, direction, initial)
                outputs.append(output)
                states.append(state)
            x = torch.cat(outputs, -1)
        if lengths is not None:
            # Nothing in ESPnet's encoders reads it, and what would must not get a wrong one.
            return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False), None
        return x if module.batch_first else x.transpose(0, 1), _stack(states)

    def _one(
        self, x: torch.Tensor, lengths: torch.Tensor | None, layer: int, direction: int, hx: Any
    ) -> tuple[torch.Tensor, Any]:
        """One layer in one direction: (B, T, I) -> (B, T, H) and its last state."""
        suffix = f"_l{layer}" + ("_reverse" if direction else "")
        weights: dict[str, Any] = {
            n: getattr(self.module, n + suffix, None)
            for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        if direction:
            x = _reverse(x, lengths)
        gates = torch.nn.functional.linear(x, weights["weight_ih"], weights["bias_ih"])
        gates = self.recording.watch(gates)
        self._note(f"ih{suffix}", weights["weight_ih"], x, gates)
        output, state = self._recur(gates, weights, hx)
        if any(f"{kind}_hh{suffix}" in self.names for kind in ("weight", "bias")):
            first = output.new_zeros(1, *output[:, 0].shape) if hx is None else _hidden(hx)
            before = torch.cat([first.transpose(0, 1), output[:, :-1]], 1).detach()
            rule = _Recurrence(self._reset(gates, before, weights))
            self._note(f"hh{suffix}", weights["weight_hh"], before, gates, rule)
        if lengths is not None:
            valid = torch.arange(x.size(1))[None] < lengths[:, None]
            output = output * valid.unsqueeze(-1).to(output)
        return (_reverse(output, lengths) if direction else output), state

    def _recur(
        self, gates: torch.Tensor, weights: dict[str, Any], hx: Any
    ) -> tuple[torch.Tensor, Any]:
        size, hidden = gates.size(-1), weights["weight_hh"].size(-1)
        flat = [torch.eye(size, dtype=gates.dtype, device=gates.device), weights["weight_hh"]]
        if self.module.bias:
            flat += [torch.zeros_like(weights["bias_hh"]), weights["bias_hh"]]
        is_lstm = isinstance(self.module, torch.nn.LSTM)
        if hx is None:
            zeros = gates.new_zeros(1, gates.size(0), hidden)
            hx = (zeros, zeros) if is_lstm else zeros
        run = torch.lstm if is_lstm else torch.gru
        output, *state = run(gates, hx, flat, self.module.bias, 1, 0.0, False, False, True)
        return output, tuple(state) if is_lstm else state[0]

    def _reset(
        self, gates: torch.Tensor, before: torch.Tensor, weights: dict[str, Any]
    ) -> torch.Tensor | None:
        """The GRU's gate r at every position; None for the LSTM."""
        if isinstance(self.module, torch.nn.LSTM):
            return None
        hidden = weights["weight_hh"].size(-1)
        bias = None if weights["bias_hh"] is None else weights["bias_hh"][:hidden]
        from_before = torch.nn.functional.linear(before, weights["weight_hh"][:hidden], bias)
        return torch.sigmoid(gates[..., :hidden].detach() + from_before)

    def _note(
        self,
        suffix: str,
        weight: torch.Tensor,
        inputs: torch.Tensor,
        gates: torch.Tensor,
        rule: Linear | None = None,
    ) -> None:
        names = [kind for kind in ("weight", "bias") if f"{kind}_{suffix}" in self.names]
        if names:
            name = f"{self.name}.{suffix}"
            layer = SimpleNamespace(weight=weight)
            self.recording.add_call(name, layer, rule or Linear(), names, inputs, gates)


class _Recurrence(Linear):
    """The recurrent weights, whose inputs are the states before.

    Args:
        reset: The GRU's gate r (B, T, H).
    """

    def __init__(self, reset: torch.Tensor | None):
        self.reset = reset

    def arriving(self, d: torch.Tensor) -> torch.Tensor:
        if self.reset is None:
            return d
        r, z, n = d.chunk(3, -1)
        return torch.cat([r, z, n * self.reset], -1)


def _reverse(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """(B, T, F) back to front, each utterance within its length."""
    if lengths is None:
        return x.flip(1)
    place = torch.arange(x.size(1))[None].expand(x.size(0), -1)
    place = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    return x.gather(1, place.to(x.device).unsqueeze(-1).expand_as(x))


def _pick(hx: Any, index: int) -> Any:
    if isinstance(hx, tuple):
        return tuple(h[index : index + 1] for h in hx)
    return hx[index : index + 1]


def _hidden(hx: Any) -> torch.Tensor:
    return hx[0] if isinstance(hx, tuple) else hx


def _stack(states: list[Any]) -> Any:
    if isinstance(states[0], tuple):
        return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return torch.cat(states)
