"""What the shop consists of."""
