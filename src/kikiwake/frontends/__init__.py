"""Front ends: modules that turn a batch of waveforms into what a network sees."""
