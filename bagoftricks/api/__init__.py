"""The package as a library: what the commands do, as functions. ``bagoftricks`` has their names."""
