"""The use cases: protect, verify, replicate, restore, rebuild; each a plan, then its apply."""
