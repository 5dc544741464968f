"""Windows: bars become features, splits and one tensor from which batches are gathered."""
