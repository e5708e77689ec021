"""Tasks: what a network predicts, how it is trained for that, and how it is scored. One file each."""
