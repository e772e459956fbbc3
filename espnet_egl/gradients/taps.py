"""Squared gradient norms of every utterance of a batch by one backward pass.

Axes: B utterances.

PyTorch sums the gradient of a parameter over the batch. Here hooks take every layer's
inputs in the forward pass and the gradient of its outputs in the backward pass, and a rule
(:mod:`.layers`) turns the two into one squared norm per utterance. The parameters
themselves ask for no gradient, so that PyTorch never computes the sum.

:class:`TappedNorms` is the fast way, :class:`AutogradNorms` the plain one for a batch of
one, and their results are the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from espnet_egl.errors import UnsupportedModelError
from espnet_egl.gradients.layers import Call, Calls, Rule, find_rule
from espnet_egl.gradients.projection import Projection
from espnet_egl.gradients.recurrent import Recurrent, is_recurrent
from espnet_egl.gradients.reference import squared_norm
from espnet_egl.model import compat
from espnet_egl.model.modes import replaced

Parameters = Mapping[str, torch.nn.Parameter]


class _Convolution(torch.autograd.Function):
    """Conv2d without a gradient for its weights, quick to pull back on the CPU.

    PyTorch's backward pass of a strided convolution takes several times longer for
    contiguous tensors than with the channels last.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: torch.nn.Conv2d) -> torch.Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return layer._conv_forward(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, d: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        layer, last = ctx.layer, torch.channels_last
        x = torch.empty(ctx.shape, dtype=d.dtype, device=d.device, memory_format=last)
        gradient, _, _ = torch.ops.aten.convolution_backward(
            d.contiguous(memory_format=last),
            x,  # only its shape is read
            layer.weight.contiguous(memory_format=last),
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
            False,
            [0, 0],
            layer.groups,
            [True, False, False],
        )
        # What comes before has its own layout, and mixed ones are slow.
        return gradient.contiguous(), None


class _Begin(torch.autograd.Function):
    """Lets the graph begin at a tensor: itself, without a copy, open to in-place operations."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, d: torch.Tensor) -> tuple[None, torch.Tensor]:  # type: ignore[override]
        return None, d.new_zeros(())


def _before_changes(output: torch.Tensor) -> torch.Tensor:
    """The tensor to hook. A view loses its hooks when it is changed in place, its base not."""
    base = output._base
    if base is not None and base.is_contiguous() and output.is_contiguous():
        return base if base.numel() == output.numel() else output
    return output


class Recording(ABC):
    """One forward pass under watch, and any number of backward passes through it.

    Args:
        batch: Number of utterances.
        leaves: Where the graph begins.
        projection: What the gradients are projected by.

    Attributes:
        projected: (B, S) of the last backward pass, see :class:`.projection.Projection`; S is
            zero without a projection.
    """

    def __init__(self, batch: int, leaves: list[torch.Tensor], projection: Projection | None):
        self.batch = batch
        self.leaves = leaves
        self.projection = projection
        self.projected = torch.zeros(batch, 0)

    def backward(
        self,
        outputs: Sequence[torch.Tensor],
        cotangents: Sequence[torch.Tensor],
        inputs: Sequence[torch.Tensor] = (),
    ) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        """|| J_b^T cotangent_b ||^2 of every utterance over the recorded parameters.

        Args:
            outputs: Tensors of the forward pass, (B, ...) each.
            cotangents: One of the same shape for each.
            inputs: Tensors whose gradients are wanted, too.

        Returns:
            (B,) float64, and the gradients of ``inputs``.
        """
        gradients = torch.autograd.grad(
            outputs,
            [*self.leaves, *inputs],
            grad_outputs=cotangents,
            retain_graph=True,
            allow_unused=True,
        )
        count = len(self.leaves)
        return self._norms(gradients[:count]).to(outputs[0].device), gradients[count:]

    @abstractmethod
    def _norms(self, gradients: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """(B,) float64, at the end of a backward pass that gave the leaves ``gradients``."""


class AutogradRecording(Recording):
    """One utterance, whose leaves are the parameters."""

    def __init__(self, parameters: Parameters, projection: Projection | None):
        super().__init__(1, list(parameters.values()), projection)
        self._names = list(parameters)

    def _norms(self, gradients: Sequence[torch.Tensor | None]) -> torch.Tensor:
        if self.projection is not None:
            named = dict(zip(self._names, gradients, strict=True))
            self.projected = self.projection.gradients(named)
        return squared_norm(gradients).unsqueeze(0)


class TappedRecording(Recording):
    """A batch, whose one leaf is an anchor that every watched tensor hangs on."""

    def __init__(self, batch: int, like: torch.Tensor, projection: Projection | None):
        super().__init__(batch, [like.new_zeros((), requires_grad=True)], projection)
        self._calls: dict[str, list[Call]] = {}
        self._layers: dict[str, tuple[Any, Rule, Sequence[str]]] = {}
        # Of the backward pass under way.
        self._arrived: dict[str, list[tuple[Call, torch.Tensor]]] = {}
        self._found: list[torch.Tensor] = []
        self._projected: list[torch.Tensor] = []
        self.closed = False

    def close(self) -> None:
        """Let go of the forward pass, and watch no other one."""
        self.closed = True
        self._calls.clear()
        self.leaves.clear()

    def watch(self, output: torch.Tensor) -> torch.Tensor:
        """Make sure that gradients reach ``output``."""
        if output.requires_grad:
            return output
        return _Begin.apply(output.clone() if output._is_view() else output, self.leaves[0])

    def add_call(
        self,
        name: str,
        layer: Any,
        rule: Rule,
        names: Sequence[str],
        inputs: torch.Tensor,
        output: torch.Tensor,
    ) -> torch.Tensor:
        """Note one call of a layer; its norm is taken whenever a gradient comes by."""
        with torch.no_grad():
            call = Call(rule.keep(layer, self._batch_first(name, rule, inputs.detach())))
        self._layers[name] = (layer, rule, names)
        self._calls.setdefault(name, []).append(call)
        output = self.watch(output)
        shape = output.shape

        def arrive(d: torch.Tensor) -> None:
            d = self._batch_first(name, rule, d.detach().view(shape))
            self._arrive(name, call, rule.arriving(d))

        _before_changes(output).register_hook(arrive)
        return output

    def add_expanded(self, value: torch.Tensor) -> torch.Tensor:
        """Note a parameter that was given to every utterance (B, ...) as its own."""
        value = self.watch(value)
        value.register_hook(lambda d: self._found.append(d.flatten(1).square().sum(1).double()))
        return value

    def _batch_first(self, name: str, rule: Rule, x: torch.Tensor) -> torch.Tensor:
        if x.size(0) == self.batch:
            return x
        if x.size(0) % self.batch:
            raise UnsupportedModelError(f"{name}: no batch in {tuple(x.shape)}")
        return rule.together(x, self.batch)

    def _arrive(self, name: str, call: Call, d: torch.Tensor) -> None:
        if len(self._calls[name]) == 1:
            self._finish(name, [(call, d)])
        else:
            self._arrived.setdefault(name, []).append((call, d))

    def _finish(self, name: str, calls: Calls) -> None:
        layer, rule, names = self._layers[name]
        with torch.no_grad():
            self._found.append(rule.squared_norms(layer, calls, names))
            if self.projection is not None and name in self.projection:
                self._projected.append(self.projection.calls(name, calls))

    def _norms(self, gradients: Sequence[torch.Tensor | None]) -> torch.Tensor:
        # A layer called several times has one gradient: the sum over its calls.
        for name, calls in self._arrived.items():
            self._finish(name, calls)
        nothing = torch.zeros(self.batch, dtype=torch.float64)
        total = torch.stack(self._found).sum(0) if self._found else nothing
        if self._projected:
            self.projected = torch.stack(self._projected).sum(0)
        self._arrived.clear()
        self._found.clear()
        self._projected.clear()
        return total


class TappedNorms:
    """Norms of whole batches by rules for the layers.

    Args:
        model: The model, or the part of it that is watched.
        parameters: Name -> parameter, as ``model.named_parameters()`` names them.
        projection: What the gradients are projected by beside their norms, if at all.

    Raises:
        UnsupportedModelError: Layers have no rule; the message names them.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        parameters: Parameters,
        projection: Projection | None = None,
    ):
        self.model = model
        self.projection = projection
        self._layers: list[tuple[str, Any, Rule, list[str]]] = []
        self._recurrent: list[tuple[str, Any, list[str]]] = []
        self._expanded: list[tuple[Any, str, int]] = []
        self._sharing = [m for m in model.modules() if compat.shares_positions(m)]
        self._positions = [m for m in model.modules() if compat.makes_positions(m)]
        wanted = {id(p) for p in parameters.values()}
        covered: list[int] = []
        unknown: list[str] = []
        for name, module in model.named_modules():
            names = [n for n, p in module.named_parameters(recurse=False) if id(p) in wanted]
            if names and not self._add_layer(name, module, names):
                unknown.append(f"{name} ({type(module).__name__}: {', '.join(names)})")
            covered += [id(getattr(module, n)) for n in names]
        if unknown:
            raise UnsupportedModelError(f"no rule for {'; '.join(unknown)}")
        # Every selected parameter once: a tied one would be counted as two.
        if sorted(covered) != sorted(wanted):
            raise UnsupportedModelError("parameters that several layers share")

    def _add_layer(self, name: str, module: Any, names: list[str]) -> bool:
        if is_recurrent(module):
            self._recurrent.append((name, module, names))
            return True
        rule = find_rule(module, names)
        if rule is not None:
            self._layers.append((name, module, rule, names))
            return True
        shapes = compat.expandable_parameters(module)
        if not shapes.keys() >= set(names):
            return False
        self._expanded += [(module, n, shapes[n]) for n in names]
        return True

    @contextmanager
    def recording(self, batch: int) -> Iterator[TappedRecording]:
        """Watch the forward passes in this block, of ``batch`` utterances each.

        The model is left as it was, also after an exception.
        """
        recording = TappedRecording(batch, next(self.model.parameters()), self.projection)
        asked = [p for p in self.model.parameters() if p.requires_grad]
        with ExitStack() as stack:
            for parameter in asked:
                parameter.requires_grad = False
                stack.callback(setattr, parameter, "requires_grad", True)
            for name, layer, rule, names in self._layers:
                hook = _hook(recording, name, rule, names)
                stack.callback(layer.register_forward_hook(hook).remove)
                if isinstance(layer, torch.nn.Conv2d) and not isinstance(layer.padding, str):
                    stack.enter_context(replaced(layer, "forward", _pulled_back_quickly(layer)))
            for module in self._sharing:
                hook = _give_each_its_own(recording)
                stack.callback(module.register_forward_pre_hook(hook).remove)
            for module in self._positions:
                stack.callback(module.register_forward_hook(_for_each(recording)).remove)
            for name, layer, names in self._recurrent:
                forward = Recurrent(recording, name, layer, names)
                stack.enter_context(replaced(layer, "forward", forward))
            for module, name, extra in self._expanded:
                # Not the attribute, which a recording around this one may have replaced.
                value = module._parameters[name].detach()
                value = value.reshape((1,) * (extra + 1) + tuple(value.shape))
                value = value.expand(batch, *value.shape[1:])
                stack.enter_context(replaced(module, name, recording.add_expanded(value)))
            yield recording


def _hook(recording: TappedRecording, name: str, rule: Rule, names: list[str]) -> Any:
    def after(layer: Any, args: tuple[Any, ...], output: torch.Tensor) -> Any:
        if recording.closed or not torch.is_grad_enabled():
            return None
        return recording.add_call(name, layer, rule, names, args[0], output)

    return after


def _pulled_back_quickly(layer: torch.nn.Conv2d) -> Any:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return _Convolution.apply(x, layer) if x.requires_grad else type(layer).forward(layer, x)

    return forward


def _give_each_its_own(recording: TappedRecording) -> Any:
    def before(attention: Any, args: tuple[Any, ...]) -> Any:
        if recording.closed:
            return None
        query, key, value, positions, *rest = args
        return (query, key, value, positions.expand(recording.batch, -1, -1), *rest)

    return before


def _for_each(recording: TappedRecording) -> Any:
    def after(encoding: Any, args: tuple[Any, ...], positions: torch.Tensor) -> Any:
        return None if recording.closed else positions.expand(recording.batch, -1, -1)

    return after


class AutogradNorms:
    """Norms of one utterance at a time by plain autograd: slower, for every model.

    Args:
        parameters: Name -> parameter.
        projection: As for :class:`TappedNorms`.
    """

    def __init__(self, parameters: Parameters, projection: Projection | None = None):
        self.parameters = parameters
        self.projection = projection

    @contextmanager
    def recording(self, batch: int) -> Iterator[Recording]:
        """As :meth:`TappedNorms.recording`, for batches of one."""
        assert batch == 1
        with ExitStack() as stack:
            for parameter in self.parameters.values():
                # Another recording around this one may have switched it off.
                stack.callback(setattr, parameter, "requires_grad", parameter.requires_grad)
                parameter.requires_grad = True
            yield AutogradRecording(self.parameters, self.projection)
