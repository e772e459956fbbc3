"""How near two numbers must be that are one by rights: docs/reliability.md, "The same numbers".

A float32 operation rounds by 6e-8 of its value (2^-24). What it rounds hangs on the order of sums,
and that on the batch, the number of threads and the processor. Bytes are compared where both sides
did the same operations in the same order on the same machine; all else that float32 computed is
compared within one of these.
"""

from __future__ import annotations

# A score, a mass or a gradient length, of its value: computed in another order, batch or number of
# threads, on another machine, or by another formula that is exact, too. A model of a thousand
# operations in a row, each of which rounds the same way.
ROUNDING = 1e-4
# The same in float64, which rounds by 2^-53.
ROUNDING_OF_DOUBLES = ROUNDING * 2**-29

# EGL of the exact mode, of its value, against the definition: the directions that are left out hold
# at most 7e-4 of the energy (docs/gradient_engine.md), and there is the rounding.
DEFINITION = 1e-3

# The standard error of a score, of the score's value: it is made of the small energies of a
# spectrum, which are known to the rounding of the largest. A hundred operations.
SPREAD = 1e-5

# A confidence, from 0 to 1: the last of the six digits that are written, and rounding.
CONFIDENCE = 1e-5

# An encoder's output, whose layers normalise it to a few units: a hundred operations.
ACTIVATION = 1e-5

# A sample of audio, from -1 to 1, that was resampled: ten operations. 16 bits have steps of 3e-5.
SAMPLE = 1e-6
