"""What a site computes for each kind of question, and what it keeps between rounds."""
