"""Conclusions from records: paired comparisons and effects of factorial designs."""
