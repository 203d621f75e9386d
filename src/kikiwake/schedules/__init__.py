"""Learning-rate schedules: pure functions of epoch and scores, so that resuming needs no state."""
