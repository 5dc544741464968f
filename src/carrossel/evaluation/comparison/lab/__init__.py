"""Inside the cells, side by side: how long each one remembers, what it listens to, what its gates do."""
