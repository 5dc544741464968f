"""What a walk-forward proves: every model refitted again and again, judged on all the rows it forecast."""
