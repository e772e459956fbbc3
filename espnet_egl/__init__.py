"""Active learning for speech recognition as a plugin to ESPnet."""

__version__ = "0.1.0"
