"""Stage 26's report: what was chosen, what it bought and what comes next, as a page to read."""
