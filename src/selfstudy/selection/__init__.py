"""What to learn from: pairs of right and wrong solutions, and right solutions worth imitating."""
