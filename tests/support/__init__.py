"""Shared by the tests: certificates, and programs that nobody here wrote."""
