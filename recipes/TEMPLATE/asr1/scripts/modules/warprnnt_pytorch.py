"""The loss of transducers for ESPnet's training where the compiled extra is not installed."""

from espnet_egl.model.compat import _TorchaudioRNNTLoss as RNNTLoss  # noqa: F401
