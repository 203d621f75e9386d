"""Networks: from features `[B, C, F, N]` to an `Output`. One module a network, found by its name."""
