"""What a read costs with a thousand times as many rows beside those that it returns."""
