"""What a lying coordinator could learn of single people: an attack a file, by a site's `ask`."""
