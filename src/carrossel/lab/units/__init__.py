"""Inside a unit, for prices: what it holds, what its gates do, what the network expects next, and what it follows."""
