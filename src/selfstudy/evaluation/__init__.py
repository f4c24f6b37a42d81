"""What a run achieved and what it cost: scores with their intervals, and a ledger of FLOPs."""
