"""The nightly order as functions that take and return small references; matrices stay in the store."""
