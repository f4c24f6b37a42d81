"""Learning: one loop for SFT and preference learning, on one function that gives log-probabilities."""
