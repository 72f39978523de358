"""One YAML becomes one frozen object; every default lives in schema.py."""
