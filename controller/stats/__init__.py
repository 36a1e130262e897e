"""Pure statistics: no I/O, no clock, no hidden randomness. See docs on how canaryctl decides."""
