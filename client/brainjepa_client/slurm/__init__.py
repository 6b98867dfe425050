"""Answers that a cluster computes: jobs, and the files through which they are asked."""
