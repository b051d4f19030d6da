"""What every page stands in: who asks, in which language, the frame around it."""
