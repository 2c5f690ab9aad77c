"""Commands for auditors: logs, bundles, verification, exports."""
