"""Differential privacy of people in training: private steps, their cost, and who has spent what."""
