"""A whole deployment on one machine, everything real but the people."""
