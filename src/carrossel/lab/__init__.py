"""The cell lab: experiments that show how cells remember, and a page of what they found."""
