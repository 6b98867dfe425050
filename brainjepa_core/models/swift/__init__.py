"""SwiFT: a Swin transformer over volumes in time."""
