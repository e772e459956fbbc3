from __future__ import annotations

from typing import Any

import pytest

from espnet_egl.errors import ConfigError
from espnet_egl.gradients.parameters import select_parameters


def test_groups_part_the_model(load: Any) -> None:
    model = load("hybrid_conformer").model
    names = {g: set(select_parameters(model, g)) for g in ("all", "encoder", "decoder", "head")}
    assert names["all"] == {n for n, p in model.named_parameters() if p.requires_grad}
    assert names["encoder"] & names["decoder"] == set()
    assert (
        names["encoder"] | names["decoder"] | {"ctc.ctc_lo.weight", "ctc.ctc_lo.bias"}
        == (names["all"])
    )
    assert names["head"] == {
        "ctc.ctc_lo.weight",
        "ctc.ctc_lo.bias",
        "decoder.output_layer.weight",
        "decoder.output_layer.bias",
    }


def test_the_task_asr_transducer_has_heads_of_auxiliary_losses(load: Any) -> None:
    names = set(select_parameters(load("transducer_task_auxiliary").model, "head"))
    modules = ("ctc_lin", "lm_lin", "joint_network.lin_out")
    assert names == {f"{m}.{n}" for m in modules for n in ("weight", "bias")}


@pytest.mark.parametrize("name", ["hybrid_rnn", "transducer", "transducer_task"])
def test_head_is_found_in_every_decoder(load: Any, name: str) -> None:
    head = select_parameters(load(name).model, "head")
    assert any(not n.startswith("ctc") for n in head)


def test_frozen_parameters_take_no_part(load: Any) -> None:
    model = load("ctc_conformer").model
    model.ctc.ctc_lo.bias.requires_grad = False
    try:
        assert set(select_parameters(model, "head")) == {"ctc.ctc_lo.weight"}
    finally:
        model.ctc.ctc_lo.bias.requires_grad = True


@pytest.mark.parametrize(
    ("pattern", "message"), [("nothing_like_it", "matches none"), ("(", "not a regular")]
)
def test_bad_patterns_are_refused(load: Any, pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select_parameters(load("ctc_conformer").model, pattern)
