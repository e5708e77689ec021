"""The commands. Hydra lives here and only here."""
