"""A first look at the bars, as numbers (`statistics`) and as plots (`figures`)."""
