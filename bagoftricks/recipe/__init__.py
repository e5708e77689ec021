"""The algebra of tricks: edits, tricks, and the recipe that ``compose`` makes of them."""
