"""The demo's platforms: a model trained on folk melodies, the works it generates, and their attribution.

`read_corpus` reads the melodies and their traditions, `train` makes the model, `MelodyModel.generate` the works, and
`measure_instability` tells how far attribution moves. All of it is deterministic and knows nothing of the service.
"""
