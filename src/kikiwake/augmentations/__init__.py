"""Augmentations: random changes that leave the label true, at one of three levels.

- `waveform`: one clip `[C, T]` in a loader's worker. A clip that becomes shorter is returned shorter: zeros
  behind it would count as sound.
- `spectrogram`: a batch of features `[B, C, F, N]` on the device, each clip by a draw of its own.
- `batch`: the same with its targets and weights, where clips are mixed with each other.

Each part's probability of changing a clip is called `p`. `some_of` holds augmentations of one level, which is
its own then; what it holds has a `p` of 1.

All draws come from the numpy generator that is handed in, so they are the same on every device. No
augmentation changes what it is given: it returns something new, or the same where it was not its turn.
"""
