"""The report's sections: each turns a part of the result into markup, or into None where it is missing."""
