"""docs/results.csv, a row per run, and docs/results.md, the page that is made of it."""
