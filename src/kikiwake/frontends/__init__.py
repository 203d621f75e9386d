"""Front ends: modules that turn a batch of waveforms into what a network sees.

One that makes mel spectrograms says in `mel_bands` where the bands of each lie, which augmentations may need.
"""
