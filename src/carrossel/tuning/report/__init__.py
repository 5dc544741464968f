"""What a study leaves to read: tables, figures, one page, the best configuration as YAML."""
