"""What Flower's bundle needs to hold: nothing, which nobody runs."""

app = None
