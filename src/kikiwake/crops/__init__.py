"""Crops: which stretch of a clip a training example is made from."""
