"""The paper's claims, tables and figures beside our runs."""
