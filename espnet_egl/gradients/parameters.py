"""Over which parameters the gradient is taken."""

from __future__ import annotations

import re

import torch

from espnet_egl.errors import ConfigError

# The decoder's last layer goes by these names in ESPnet's decoders.
GROUPS = {
    "all": r"",
    "encoder": r"^(frontend|preencoder|encoder|postencoder|prompt_encoder|embed|embed_proj"
    r"|prompt_proj)\.",
    "decoder": r"^(decoder|joint_network|lm_lin)\.",
    "head": r"^(ctc\.ctc_lo|ctc_lin|decoder\.output_layer|decoder\.output"
    r"|joint_network\.lin_out|lm_lin)\.",
}


def select_parameters(
    model: torch.nn.Module, pattern: str = "all"
) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters the gradient length is taken over.

    Args:
        model: ESPnet's model.
        pattern: ``all``, ``encoder``, ``decoder``, ``head`` (the output layers), or a regular
            expression searched for in the parameters' names. Frozen parameters never
            take part: training would not move them.

    Raises:
        ConfigError: The expression is malformed or matches no trainable parameter.
    """
    try:
        expression = re.compile(GROUPS.get(pattern, pattern))
    except re.error as e:
        raise ConfigError(f"--egl_params {pattern}: not a regular expression: {e}") from e
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    selected = {n: p for n, p in trainable.items() if expression.search(n)}
    if not selected:
        modules = sorted({name.split(".")[0] for name in trainable})
        raise ConfigError(
            f"--egl_params {pattern} matches none of the {len(trainable)} trainable parameters; "
            f"they begin with {', '.join(modules) or '(all are frozen)'}"
        )
    return selected
