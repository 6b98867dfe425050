"""People who take part, and people who do so no longer."""
