"""What a coordinator learns from answers to questions of its own making, by a site's `ask`."""
