"""What people read: the report, its plots, the tables."""
