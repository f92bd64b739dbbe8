"""What the paper has in print, how our protocol departs from its own, and what it claims."""
