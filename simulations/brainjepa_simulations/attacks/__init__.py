"""Attacks on a study of made-up people, with and without what protects them: a table (`bench`)."""
