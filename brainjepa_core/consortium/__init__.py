"""How a consortium is set up: kits and requests, and the keys and certificates behind them."""
