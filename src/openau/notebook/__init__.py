"""What `Faces` show of themselves in a notebook: a rich repr, bars, a timeline. Loaded when they are asked for."""
