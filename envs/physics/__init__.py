"""Where simulations run: the protocol, and one file for each way to run them."""
