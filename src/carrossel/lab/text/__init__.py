"""Inside a unit, for text: a small character model, and what each unit holds at each character."""
