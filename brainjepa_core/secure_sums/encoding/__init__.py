"""From what a site has to a vector of integers, and from their sum back to numbers."""
