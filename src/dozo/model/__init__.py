"""Plain values and arithmetic: ids, extents, states, errors, the clock. No I/O."""
