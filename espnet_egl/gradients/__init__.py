"""Gradient lengths: the literal definition, the shared forward pass, and the trainer hook."""
