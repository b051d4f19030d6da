"""Lists as people filter them: which rows, and what is told of many rows at once."""
