"""The audit service: logs, their checkpoints, proofs and bundles, and replays."""
