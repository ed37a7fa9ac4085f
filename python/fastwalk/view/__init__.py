"""Pictures, tables for notebooks, and the report: over columns, no image access."""
