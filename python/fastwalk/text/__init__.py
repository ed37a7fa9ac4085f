"""Text: what a kernel's debugfs file would have said."""
