"""What a site adds up over its people: connectivity, co-skewness, and what is made of them."""
