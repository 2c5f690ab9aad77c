"""Traces: what a call did, from its caller's trace through to Postgres, sent to a collector by OpenTelemetry (OTLP).

`switch` is all that the other rooms know. Where traces are not switched on it costs a call two comparisons, and nothing
of OpenTelemetry is imported; `spans` has what is loaded where they are.
"""
