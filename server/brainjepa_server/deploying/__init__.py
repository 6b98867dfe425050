"""A coordinator's own machine: the consortium's certificates, and the sites that are admitted."""
