"""What is recorded and shown of a run: ledger, metrics, progress, video."""
