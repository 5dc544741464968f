"""Reading bars out of files that people have: which column is which, what a number and what a time looks like."""
