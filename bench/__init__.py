"""How fast Convene books, beside what PostgreSQL itself can do in the same minute: `python -m bench`."""
