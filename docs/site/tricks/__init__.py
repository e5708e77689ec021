"""Parts of the tricks' pages: text, facts found by running the tricks, results, pictures."""
