"""What can be guessed of people from what any study releases."""
