"""Contracts at a site: read, reviewed, approved, kept and left; what each may still be asked."""
