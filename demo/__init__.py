"""The demo: real works by a real model, paid for through the real service. `run` is all of it.

The platforms' side is deterministic and knows nothing of the service: `read_corpus` reads the melodies and their
traditions, `train` makes the model, `MelodyModel.generate` the works, and `measure_instability` tells how far
attribution moves. `plays`, `service` and `months` use it; `outcome` and `report` tell what came of it.
"""
